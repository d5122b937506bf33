"""What runs in a container: one attempt at a training, an evaluation, a part of the cache, the kernels' check.

Knows paths and the Volume that it commits; names, machines and mounts were decided at the desk (`desk.py`). All that it
needs comes with the call and is the same for every attempt at it.
"""

from __future__ import annotations

import importlib
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import modal

if TYPE_CHECKING:
    from training.harness.attempt import Result
    from trimtab.storage.runs import RunRecord

_BEGAN: Final = datetime.now(UTC)  # this file is the first thing of ours that a container imports


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a call finds its things: mount points ("": not mounted), and the Volume behind `results`."""

    job: str
    config: str
    """The configuration's text."""
    volume: str
    data: str
    results: str
    backup: str

    @property
    def cache(self) -> Path:
        """Where what is computed from the data lies, on the Volume: it outlives runs."""
        return Path(self.results) / "cache" / self.job

    @contextmanager
    def config_file(self) -> Iterator[Path]:
        """Lend the configuration as a file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.yaml"
            path.write_text(self.config, encoding="utf-8")
            yield path


class OutOfTimeError(Exception):
    """The attempt's time is nearly up and all is saved: the next attempt goes on."""


def train(
    place: Place,
    *,
    run_id: str | None,
    must_resume: bool,
    commit: str | None,
    timeout_s: int,
    cap_s: float | None,
) -> dict[str, Any]:
    """Run one attempt of a job and return its record.

    A preemption (SIGINT) and an attempt's end save and raise, so that the same input is given to the next attempt. A
    cancellation by a person (SIGUSR1) saves and ends the call. `cap_s` is what all attempts of the run may be billed,
    in seconds: at it the run saves, and the call returns.
    """
    began = time.monotonic()
    from training.harness.attempt import Hooks, run_job
    from training.harness.limits import Limit
    from trimtab.storage.prefixes import MountedPrefix
    from trimtab.storage.runs import read_run

    received: list[int] = []
    is_learning = False

    def heed(number: int, _: object) -> None:
        received.append(number)
        if not is_learning:  # its data is read still: there is nothing to save, and nobody asks
            raise KeyboardInterrupt if number == signal.SIGINT else _stopped("nothing was begun")

    def stop() -> bool:
        nonlocal is_learning
        is_learning = True
        return bool(received)

    for number in (signal.SIGINT, signal.SIGUSR1):  # of either, 30 s are left
        signal.signal(number, heed)
    volume, results = modal.Volume.from_name(place.volume), Path(place.results)
    call = modal.current_function_call_id()
    limits = [Limit(name="time", left_s=lambda: timeout_s - (time.monotonic() - began))]

    if cap_s is not None:

        @cache  # read when it is first asked for: by then a run whose Volume was lost has come back from its copy
        def allowed_s() -> float:
            return cap_s - used_before_s(read_run(results, run_id) if run_id else None, call=call, began=_BEGAN)

        limits.append(Limit(name="budget", left_s=lambda: allowed_s() - (time.monotonic() - began)))
    with place.config_file() as config:
        result = run_job(
            place.job,
            config=config,
            data=Path(place.data),
            results=results,
            run_id=run_id,
            must_resume=must_resume,
            git_commit=commit,
            hooks=Hooks(
                stop=stop,
                say=_say,
                commit=volume.commit,
                limits=tuple(limits),
                backup=MountedPrefix(Path(place.backup)) if place.backup else None,
                call=call,
                began=_BEGAN,
            ),
        )
    volume.commit()
    return answer(result, received)


def used_before_s(record: RunRecord | None, *, call: str | None, began: datetime) -> float:
    """Return the seconds that a run's attempts were billed for before the one of `call` that began then.

    Killed in this call, the last of them was billed until this one began; in an earlier call, until it was last seen.
    """
    from trimtab.storage.runs import used_s

    if record is None:
        return 0.0
    before = tuple(one for one in record.attempts if one.began != began)
    until = began if before and before[-1].call == call else None
    return used_s(record.model_copy(update={"attempts": before}), until=until)


def answer(result: Result, received: Collection[int]) -> dict[str, Any]:
    """Return what a call answers when an attempt has ended so, having received these signals; or raise.

    What is raised says who goes on: nobody after a person's stop, the platform with the same input after anything else.
    """
    if result.outcome == "interrupted" and result.stopped_by != "budget":
        if signal.SIGUSR1 in received:
            raise _stopped("all is saved")
        if received:
            raise KeyboardInterrupt
        raise OutOfTimeError(f"saved at step {result.record.attempts[-1].last_step}")
    return {
        "outcome": "capped" if result.outcome == "interrupted" else result.outcome,
        "resumed_from_step": result.resumed_from_step,
        "record": result.record.model_dump(mode="json"),
    }


def evaluate(place: Place, *, run_id: str | None) -> dict[str, Any]:
    """Measure a run on what was held out, and return the scores."""
    program = importlib.import_module(f"training.{place.job}.evaluate")
    with place.config_file() as config:
        scores: dict[str, Any] = program.evaluate(
            data=Path(place.data), cache=place.cache, results=Path(place.results), config=config, run_id=run_id
        )
    modal.Volume.from_name(place.volume).commit()
    return scores


def populate(part: Sequence[str] | None, place: Place, *, parts: int, fan_out: Any) -> dict[str, Any]:
    """Build what is missing of a job's cache, in parts side by side; or, given a `part`, that one.

    `fan_out` is this very function on Modal. The container that hands out the parts waits for them, then sees what they
    committed and publishes the whole. Without `parts` there is no room beside it, and it builds all by itself.
    """
    program = importlib.import_module(f"training.{place.job}.populate")
    volume, data = modal.Volume.from_name(place.volume), Path(place.data)
    with place.config_file() as config:
        if part is not None:
            built: dict[str, Any] = program.build_part(data, place.cache, config, tuple(part))
            volume.commit()
            return built
        missing = program.plan_parts(data, place.cache, config, parts=max(1, parts))
        _say(f"{sum(map(len, missing))} recordings are missing in the cache: {len(missing)} parts")
        again = {"place": place, "parts": parts, "fan_out": fan_out}
        side_by_side = fan_out.map(missing, kwargs=again, order_outputs=False)
        alone = (program.build_part(data, place.cache, config, part) for part in missing)
        for number, _ in enumerate(side_by_side if parts else alone, start=1):
            _say(f"part {number} of {len(missing)} is built")
        if parts:
            volume.reload()
        whole: dict[str, Any] = program.finish(data, place.cache, config)
    volume.commit()
    return whole


def check(place: Place) -> dict[str, Any]:
    """Compare the kernels of a job with its plain code, where there is a GPU, and say plainly where there is none."""
    program = importlib.import_module(f"training.{place.job}.mamba_cuda")
    compared: dict[str, Any] = program.check()
    return compared


def _stopped(how: str) -> BaseException:
    return modal.exception.InputCancellation(f"stopped by a person; {how}")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
