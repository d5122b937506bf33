"""What a launch really cost, beside what was predicted: seconds of its attempts times the price of its machine.

Put together from a run's record and its launches, and kept in the ledger once a call is over. Pure but for the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from trimtab.cost.estimate import HOUR_S
from trimtab.cost.ledger import Entry, Ledger
from trimtab.plan import Cost
from trimtab.storage.launches import Launch
from trimtab.storage.registry import Run
from trimtab.storage.runs import used_s

_PROBE: Final = "-probe-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one call took so far, at most: an attempt that was killed counts up to the next one's beginning."""

    launch: Launch
    attempts: int
    seconds: float
    steps: int
    step_s: float
    """The seconds in which these steps were done, without the containers' starts."""

    @property
    def usd(self) -> float:
        return self.seconds * self.launch.machine.usd_per_hour / HOUR_S


def spent_on(run: Run, *, now: datetime | None = None) -> tuple[Spent, ...]:
    """Return what each launch of a run took, newest first. One that goes on counts until now."""
    moment = now or datetime.now(UTC)
    return tuple(_spent(run, launch, moment) for launch in run.launches)


def spent_usd(run: Run) -> float:
    """Return what all launches of a run cost so far."""
    return sum(spent.usd for spent in spent_on(run))


def _spent(run: Run, launch: Launch, now: datetime) -> Spent:
    record = run.record
    attempts = [one for one in record.attempts if one.call == launch.call_id] if record else []
    measured = [one for one in attempts if one.ended or one.seen]
    return Spent(
        launch=launch,
        attempts=len(attempts),
        seconds=used_s(record, call=launch.call_id, until=now if run.open_call == launch.call_id else None),
        steps=sum(one.last_step - one.first_step for one in measured),
        step_s=sum(((one.ended or one.seen or one.started) - one.started).total_seconds() for one in measured),
    )


def step_name(job: str) -> str:
    """Return the ledger's name for a run of a job on Modal."""
    return f"modal:{job}"


def settle(ledger: Ledger, run: Run) -> tuple[Entry, ...]:
    """Write down each launch of a run that is over and not in the ledger yet; return what was written."""
    if not run.launches:
        return ()
    known = {entry.result.get("call_id") for entry in ledger.entries() if entry.step == step_name(run.job)}
    entries = tuple(_entries(run, known))
    for entry in entries:
        ledger.append(entry)
    return entries


def probe_id(job: str, moment: datetime) -> str:
    """Name a run that only measures how fast a job's steps are."""
    return f"{job}{_PROBE}{moment:%Y%m%dT%H%M%S}"


def is_probe(job: str, run_id: str) -> bool:
    """Tell whether a run of a job was one of those."""
    return run_id.startswith(f"{job}{_PROBE}")


def worked_on_modal(ledger: Ledger, job: str) -> tuple[Mapping[str, Any], ...]:
    """Return what the ledger holds of a job's launches that did any work, newest first; probes are among them."""
    entries = [entry for entry in ledger.entries() if entry.step == step_name(job) and entry.result.get("steps")]
    return tuple(map(_document, sorted(entries, key=lambda entry: str(entry.result["launched"]), reverse=True)))


def last_on_modal(ledger: Ledger, job: str) -> Mapping[str, Any] | None:
    """Return what the ledger holds of the last launch of a run of a job that did any work, or None."""
    return next((one for one in worked_on_modal(ledger, job) if not is_probe(job, one["run_id"])), None)


def _document(entry: Entry) -> Mapping[str, Any]:
    measured = entry.measured
    return {**entry.result, "usd": measured.usd if measured else 0.0, "predicted_usd": entry.predicted.usd or None}


def _entries(run: Run, known: set[Any]) -> Iterator[Entry]:
    for spent in spent_on(run):
        launch = spent.launch
        answer = run.calls.get(launch.call_id, {})
        is_over = run.state == "finished" or answer.get("state") not in (None, "running")
        if launch.call_id in known or not is_over:
            continue
        usd = launch.predicted_usd.get("likely", 0.0)
        is_done = run.state == "finished" or (run.state == "capped" and is_probe(run.job, run.run_id))
        yield Entry(
            run=run.run_id,
            step=step_name(run.job),
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            outcome="done" if is_done else "failed",
            predicted=Cost(peak_bytes=0, kept_bytes=0, memory_bytes=None, wall_s=launch.predicted_s or 0.0, usd=usd),
            measured=Cost(peak_bytes=0, kept_bytes=0, memory_bytes=None, wall_s=spent.seconds, usd=spent.usd),
            result={
                "call_id": launch.call_id,
                "run_id": run.run_id,
                "launched": launch.launched.isoformat(),
                "state": run.state,
                "server": launch.server,
                "profile": launch.profile,
                "machine": launch.machine.model_dump(mode="json"),
                "attempts": spent.attempts,
                "seconds": spent.seconds,
                "steps": spent.steps,
                "step_s": spent.step_s,
            },
        )
