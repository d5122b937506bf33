"""The registry of runs: one small JSON record a run, written whole, and merged without loss when copies meet.

Written by the training payload (which imports no cloud client), listed by the toolkit. Touches `RESULTS/runs/` only.
Paths inside a record are relative to RESULTS, so that a record means the same after it went through a bucket.

    RESULTS/runs/RUN_ID.json                            the record
    RESULTS/launches/CALL_ID.json                       who sent it to a rented machine, and to which (launches.py)
    RESULTS/checkpoints/JOB/YYYY-MM-DD/RUN_ID/          the run's directory
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from trimtab.errors import DriftError, UsageError
from trimtab.storage.durable import make_directory, write_whole

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Outcome = Literal["running", "finished", "interrupted", "failed", "killed"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Attempt(_Record):
    """One process that worked on a run. `last_step` is the last step that it is known to have saved.

    On a rented machine `began` is when its container began, from where it is billed, and `call` the platform's id of
    the call that it belongs to. `seen` is when it last wrote here, `peaks` the most bytes that it used, by gauge.
    """

    started: AwareDatetime
    ended: AwareDatetime | None = None
    outcome: Outcome = "running"
    first_step: int
    last_step: int
    message: str | None = None
    began: AwareDatetime | None = None
    seen: AwareDatetime | None = None
    call: str | None = None
    peaks: Mapping[str, int] = Field(default_factory=dict)


class Epoch(_Record):
    """What was measured at the end of an epoch, counted from 1. It holds no times: equal trainings have equal ones."""

    epoch: int
    step: int
    metrics: Mapping[str, float]


class Artifact(_Record):
    """A file that the run made for keeps, its path relative to the results."""

    name: str
    path: str
    size_bytes: int
    sha256: str


class RunRecord(_Record):
    """Everything that is remembered of a run."""

    format: Literal["trimtab-run/1"] = "trimtab-run/1"
    job: str
    run_id: str
    run_directory: str
    commit: str | None
    config: Mapping[str, Any]
    config_sha256: str
    data_sha256: str
    attempts: tuple[Attempt, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    final: Mapping[str, Any] | None = None
    artifacts: tuple[Artifact, ...] = ()

    @property
    def outcome(self) -> Outcome | None:
        """Return how the newest attempt stands; `running` also when it was killed and none came after it."""
        return self.attempts[-1].outcome if self.attempts else None

    def with_attempt_begun(
        self, *, started: datetime, first_step: int, began: datetime | None = None, call: str | None = None
    ) -> RunRecord:
        """Return the record with a new attempt. One still `running` was killed: its writer lock is ours now."""
        before = tuple(
            attempt.model_copy(update={"outcome": "killed", "last_step": max(attempt.last_step, first_step)})
            if attempt.outcome == "running"
            else attempt
            for attempt in self.attempts
        )
        attempt = Attempt(
            started=started, first_step=first_step, last_step=first_step, began=began, seen=started, call=call
        )
        return self.model_copy(update={"attempts": (*before, attempt)})

    def with_attempt(self, **changes: Any) -> RunRecord:  # any of Attempt's own fields
        """Return the record with its newest attempt changed."""
        return self.model_copy(update={"attempts": (*self.attempts[:-1], self.attempts[-1].model_copy(update=changes))})


def used_s(record: RunRecord | None, *, call: str | None = None, until: datetime | None = None) -> float:
    """Return the seconds that a run's attempts took of their machines, at most; of one call's attempts if it is named.

    An attempt that was killed cannot say when: it counts until the next one began, the last one until `until`, or,
    without it, until it was last seen.
    """
    attempts = record.attempts if record else ()
    total_s = 0.0
    for attempt, following in zip_longest(attempts, attempts[1:]):
        if call is not None and attempt.call != call:
            continue
        begun = attempt.began or attempt.started
        then = (following.began or following.started) if following else until
        total_s += ((attempt.ended or then or attempt.seen or attempt.started) - begun).total_seconds()
    return total_s


class Runs(NamedTuple):
    """The records of a results directory, newest first, and the files that are not records, with what is wrong."""

    records: tuple[RunRecord, ...]
    unreadable: tuple[str, ...]


def run_directory(results: Path, *, job: str, run_id: str, today: date) -> Path:
    """Return where a run keeps its checkpoints: where its first attempt put them, else under today's date.

    A retry after midnight therefore goes on in the same directory. Raises UsageError for a name that is not a plain
    one, DriftError when two dates hold the same run.
    """
    _check_name("job", job)
    _check_name("run id", run_id)
    of_job = results / "checkpoints" / job
    found = sorted(path for path in of_job.glob(f"[0-9]*/{run_id}") if path.is_dir())
    if len(found) > 1:
        raise DriftError(
            f"the run {run_id} has {len(found)} directories: {', '.join(str(path) for path in found)}",
            why="a run has one, dated by its first attempt; another was copied or made by hand",
            remedy="move all but the right one away",
        )
    return found[0] if found else of_job / today.isoformat() / run_id


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration: the same for the same values, whatever the order of its keys."""
    return hashlib.sha256(_canonical(config).encode()).hexdigest()


def read_run(results: Path, run_id: str) -> RunRecord | None:
    """Return a run's record, or None when there is none. Raises UsageError when the file is not a record."""
    _check_name("run id", run_id)
    path = results / "runs" / f"{run_id}.json"
    try:
        return RunRecord.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(f"{path} is not a record of a run", why=_reason(error), remedy="move it away") from error


def write_run(results: Path, record: RunRecord) -> None:
    """Write a record whole, in place of the one before. Raises BudgetError when the disk is full."""
    make_directory(results / "runs")
    content = json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(results / "runs" / f"{record.run_id}.json", content.encode() + b"\n")


def list_runs(results: Path) -> Runs:
    """Return every record below a results directory. One that cannot be read hides none of the others."""
    records, unreadable = [], []
    for path in sorted((results / "runs").glob("*.json")):
        try:
            records.append(RunRecord.model_validate(json.loads(path.read_bytes())))
        except (OSError, ValueError) as error:
            unreadable.append(f"{path}: {_reason(error)}")
    records.sort(key=lambda record: max((attempt.started.isoformat() for attempt in record.attempts), default=""))
    return Runs(records=tuple(reversed(records)), unreadable=tuple(unreadable))


def merge_runs(one: RunRecord, other: RunRecord) -> RunRecord:
    """Return the union of two copies of a record; the order of merging does not matter.

    Of two versions of an attempt the further one is taken. Raises DriftError when they are not the same run.
    """
    for key in ("job", "run_id", "run_directory", "config_sha256", "data_sha256"):
        if getattr(one, key) != getattr(other, key):
            raise DriftError(
                f"two records of {one.run_id} cannot be merged",
                why=f"their {key} differ: {getattr(one, key)} and {getattr(other, key)}",
                remedy="they are different runs: give one of them another run id",
            )
    attempts = _union((*one.attempts, *other.attempts), key="started")
    return one.model_copy(
        update={
            "commit": max(one.commit or "", other.commit or "") or None,
            "attempts": attempts,
            "epochs": _union((*one.epochs, *other.epochs), key="epoch"),
            "final": max(one.final, other.final, key=lambda final: (final is not None, _canonical(final))),
            "artifacts": _union((*one.artifacts, *other.artifacts), key="name"),
        }
    )


def _union(items: tuple[Any, ...], *, key: str) -> tuple[Any, ...]:
    """Return one item a key, in the key's order; of several the further attempt, else the greater in canonical JSON."""
    chosen: dict[Any, Any] = {}
    for item in sorted(items, key=_progress):
        chosen[getattr(item, key)] = item
    return tuple(chosen[name] for name in sorted(chosen))


def _progress(item: Attempt | Epoch | Artifact) -> tuple[int, int, str]:
    canonical = _canonical(item.model_dump(mode="json"))
    if isinstance(item, Attempt):
        return ({"running": 0, "killed": 1}.get(item.outcome, 2), item.last_step, canonical)
    return (0, 0, canonical)


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a {kind}",
            why="it names a directory: letters, digits, `.`, `_` and `-`, at most 64, the first a letter or digit",
            remedy=f"give another {kind}",
        )


def _canonical(value: Any) -> str:  # anything that JSON holds
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
    return str(error)
