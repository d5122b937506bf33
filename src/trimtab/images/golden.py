"""Ask a service the two questions that it must answer before it serves: is it healthy, and the golden request.

Speaks HTTP to an address on this machine. Raises HealthError with what it answered.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trimtab.catalogue import Golden
from trimtab.errors import HealthError

_POLL_S: Final = 0.2
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAnswer:
    """What the golden request was answered with."""

    picture: Path
    document: dict[str, Any]
    milliseconds: float


def wait_until_healthy(address: str, *, within_s: float, is_running: Callable[[], bool]) -> None:
    """Return once `/health` answers 200 with the status `healthy` and nothing less.

    Raises HealthError when it does not within the time, or when the container has ended.
    """
    import requests

    deadline = time.monotonic() + within_s
    last = "it never answered"
    while time.monotonic() < deadline:
        if not is_running():
            raise HealthError(f"{address} ended before it was healthy", why=last, remedy=LOGS_REMEDY)
        try:
            left_s = max(_POLL_S, deadline - time.monotonic())
            answer = requests.get(f"{address}/health", timeout=min(_TIMEOUT_S, left_s))
            last = f"/health answered {answer.status_code}: {answer.text[:500]}"
            if answer.status_code == 200 and answer.json().get("status") == "healthy":
                return
        except (requests.RequestException, ValueError, AttributeError) as error:
            last = f"/health did not answer: {error}"
        time.sleep(_POLL_S)
    raise HealthError(f"{address} is not healthy after {within_s:.0f} s", why=last, remedy=LOGS_REMEDY)


def ask_golden(address: str, golden: Golden, *, root: Path) -> GoldenAnswer:
    """Post the golden picture and return the answer. Raises HealthError when it is not the expected one."""
    import requests

    picture = root / golden.picture
    started = time.monotonic()
    answer: requests.Response | None = None
    try:
        with picture.open("rb") as file:
            answer = requests.post(address + golden.post, files={"image": (picture.name, file)}, timeout=_TIMEOUT_S)
        document = answer.json()
        found = Counter(str(item["label"]) for item in document["detections"])
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        said = f"it answered {answer.status_code}: {answer.text[:500]}" if answer is not None else repr(error)
        raise HealthError(
            f"{address}{golden.post} did not answer the golden request", why=said, remedy=LOGS_REMEDY
        ) from error
    wrong = {label: (count, found[label]) for label, count in golden.expect.items() if found[label] != count}
    if answer.status_code != 200 or wrong:
        raise HealthError(
            f"{address}{golden.post} gave a wrong answer to the golden request",
            why="; ".join(f"{label}: expected {want}, found {have}" for label, (want, have) in wrong.items())
            or f"status {answer.status_code}",
            remedy="look at the model's manifest and the picture; the release before it keeps serving",
        )
    return GoldenAnswer(picture=picture, document=document, milliseconds=(time.monotonic() - started) * 1000)


LOGS_REMEDY: Final = "read the container's last lines above; the release before it, if there was one, keeps serving"
