"""Ask a service the two questions that it must answer before it serves: is it healthy, and the golden request.

Asks through a door: over HTTP on this machine, or from inside the front's network (images/front.py). Raises
HealthError with what was answered.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from trimtab.catalogue import Golden
from trimtab.errors import HealthError

_POLL_S: Final = 0.2
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back."""

    status: int
    text: str


class NoReplyError(Exception):
    """Nobody answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A body to post."""

    content_type: str
    content: bytes


class Door(Protocol):
    """A way to ask a service."""

    @property
    def address(self) -> str:
        """What it is called in messages."""

    def ask(self, path: str, *, timeout_s: float, upload: Upload | None = None) -> Reply:
        """GET a path, or POST to it. Raises NoReplyError."""


@dataclass(frozen=True, slots=True)
class HttpDoor:
    """Asks an address on this machine, such as http://127.0.0.1:9001."""

    address: str

    def ask(self, path: str, *, timeout_s: float, upload: Upload | None = None) -> Reply:
        """GET a path, or POST to it. Raises NoReplyError."""
        import requests

        try:
            if upload is None:
                answer = requests.get(self.address + path, timeout=timeout_s)
            else:
                headers = {"Content-Type": upload.content_type}
                answer = requests.post(self.address + path, data=upload.content, headers=headers, timeout=timeout_s)
        except requests.RequestException as error:
            raise NoReplyError(str(error)) from error
        return Reply(status=answer.status_code, text=answer.content.decode(errors="replace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAnswer:
    """What the golden request was answered with."""

    picture: Path
    document: dict[str, Any]
    milliseconds: float


def wait_until_healthy(door: Door, *, within_s: float, is_running: Callable[[], bool]) -> None:
    """Return once `/health` answers 200 with the status `healthy` and nothing less.

    Raises HealthError when it does not within the time, or when the container has ended.
    """
    deadline = time.monotonic() + within_s
    last = "it never answered"
    while time.monotonic() < deadline:
        if not is_running():
            raise HealthError(f"{door.address} ended before it was healthy", why=last, remedy=LOGS_REMEDY)
        try:
            left_s = max(_POLL_S, deadline - time.monotonic())
            reply = door.ask("/health", timeout_s=min(_TIMEOUT_S, left_s))
            last = f"/health answered {reply.status}: {reply.text[:500]}"
            if reply.status == 200 and json.loads(reply.text).get("status") == "healthy":
                return
        except NoReplyError as error:
            last = f"/health did not answer: {error}"
        except (ValueError, AttributeError):
            pass  # `last` says what it is instead of an object with a status
        time.sleep(_POLL_S)
    raise HealthError(f"{door.address} is not healthy after {within_s:.0f} s", why=last, remedy=LOGS_REMEDY)


def ask_golden(door: Door, golden: Golden, *, root: Path) -> GoldenAnswer:
    """Post the golden picture and return the answer. Raises HealthError when it is not the expected one."""
    picture = root / golden.picture
    upload = _upload_of(picture)
    started = time.monotonic()
    reply: Reply | None = None
    try:
        reply = door.ask(golden.post, timeout_s=_TIMEOUT_S, upload=upload)
        document = json.loads(reply.text)
        findings = document["persons"] if "persons" in document else document["detections"]
        found = Counter(str(item["label"]) for item in findings)
    except (NoReplyError, ValueError, KeyError, TypeError) as error:
        said = f"it answered {reply.status}: {reply.text[:500]}" if reply is not None else str(error)
        raise HealthError(
            f"{door.address}{golden.post} did not answer the golden request", why=said, remedy=LOGS_REMEDY
        ) from error
    wrong = {label: (count, found[label]) for label, count in golden.expect.items() if found[label] != count}
    if reply.status != 200 or wrong:
        raise HealthError(
            f"{door.address}{golden.post} gave a wrong answer to the golden request",
            why="; ".join(f"{label}: expected {want}, found {have}" for label, (want, have) in wrong.items())
            or f"status {reply.status}",
            remedy="look at the model's manifest and the picture; the release before it keeps serving",
        )
    return GoldenAnswer(picture=picture, document=document, milliseconds=(time.monotonic() - started) * 1000)


def _upload_of(picture: Path) -> Upload:
    """Return a form with the one field `image`, as docs/services.md asks for."""
    from urllib3.filepost import encode_multipart_formdata

    body, content_type = encode_multipart_formdata({"image": (picture.name, picture.read_bytes())})
    return Upload(content_type=content_type, content=body)


LOGS_REMEDY: Final = "read the container's last lines above; the release before it, if there was one, keeps serving"
