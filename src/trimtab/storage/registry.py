"""The registry of runs, put together from the places that know of them: this machine, Modal's Volume, the bucket. Pure.

A run is one record, its launches, and how its newest call stands. Places are asked elsewhere; their answers meet here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from trimtab.errors import DriftError
from trimtab.storage.launches import Launch, newest_first
from trimtab.storage.runs import RunRecord, merge_runs

_NEVER: Final = ""
_BUDGET: Final = "budget"  # how the harness names the limit that the cap is


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one place holds. `calls` is how calls stand, by their id: `{"state": ..., "error": ...}`."""

    place: str
    records: tuple[RunRecord, ...] = ()
    launches: tuple[Launch, ...] = ()
    calls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run, from all that is known of it. It has a record, a launch, or both."""

    run_id: str
    job: str
    places: tuple[str, ...]
    record: RunRecord | None
    launches: tuple[Launch, ...]
    calls: Mapping[str, Mapping[str, Any]]

    @property
    def call_ids(self) -> tuple[str, ...]:
        """The calls that are known to have worked on it or to be meant to, newest first."""
        attempts = self.record.attempts if self.record else ()
        seen = [launch.call_id for launch in self.launches]
        seen += [attempt.call for attempt in reversed(attempts) if attempt.call]
        return tuple(dict.fromkeys(seen))

    @property
    def open_call(self) -> str | None:
        """The call that may still work on it, or None."""
        return next((call for call in self.call_ids if self.calls.get(call, {}).get("state") == "running"), None)

    @property
    def state(self) -> str:
        """Say how it stands, in one word: what Modal says of its call first, then what its last attempt wrote."""
        outcome = self.record.outcome if self.record else None
        if outcome == "finished":
            return "finished"
        call = self.open_call
        if call is not None:
            begun = self.record is not None and any(attempt.call in (call, None) for attempt in self.record.attempts)
            return "running" if begun else "starting"
        said = self.calls.get(self.call_ids[0], {}) if self.call_ids else {}
        if outcome is None:
            return str(said.get("state") or "launched")
        message = self.record.attempts[-1].message if self.record else None
        if outcome == "interrupted" and message and _BUDGET in message:
            return "capped"
        if said.get("state") == "stopped":
            return "stopped"
        # A call that is over works on nothing: an attempt that never said how it ended was killed.
        return "killed" if outcome == "running" and said else outcome

    @property
    def error(self) -> str | None:
        """What went wrong last, as it was told."""
        message = self.record.attempts[-1].message if self.record and self.record.attempts else None
        said = self.calls.get(self.call_ids[0], {}).get("error") if self.call_ids else None
        return message or said

    @property
    def newest(self) -> str:
        """When anything of it last began, to sort by."""
        attempts = self.record.attempts if self.record else ()
        moments = [attempt.started for attempt in attempts] + [launch.launched for launch in self.launches]
        return max(moments).astimezone().isoformat() if moments else _NEVER

    def document(self) -> dict[str, Any]:
        """Return it as plain data: its record's keys, and what the record cannot know."""
        record = self.record.model_dump(mode="json") if self.record else {"run_id": self.run_id, "job": self.job}
        return {
            **record,
            "state": self.state,
            "error": self.error,
            "places": list(self.places),
            "launches": [launch.model_dump(mode="json") for launch in self.launches],
            "calls": {call: dict(answer) for call, answer in self.calls.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All runs, newest first, and what could not be read or put together."""

    runs: tuple[Run, ...]
    problems: tuple[str, ...]


def registry_of(places: Sequence[Found]) -> Registry:
    """Return every run that a place knows of. Two records that are not of one run hide none: it is said."""
    problems = [problem for found in places for problem in found.problems]
    records: dict[str, RunRecord] = {}
    where: dict[str, list[str]] = {}
    for found in places:
        for record in found.records:
            where.setdefault(record.run_id, []).append(found.place)
            try:
                known = records.get(record.run_id)
                records[record.run_id] = merge_runs(known, record) if known else record
            except DriftError as error:
                problems.append(f"{found.place}: {error.what}: {error.why}; that copy is left out")
        for launch in found.launches:
            where.setdefault(launch.run_id, []).append(found.place)
    launches = newest_first([launch for found in places for launch in found.launches])
    calls = {call: answer for found in places for call, answer in found.calls.items()}
    runs = [
        _run(run_id, tuple(dict.fromkeys(names)), records.get(run_id), launches, calls)
        for run_id, names in where.items()
    ]
    return Registry(
        runs=tuple(sorted(runs, key=lambda run: (run.newest, run.run_id), reverse=True)), problems=tuple(problems)
    )


def _run(
    run_id: str,
    places: tuple[str, ...],
    record: RunRecord | None,
    launches: Iterable[Launch],
    calls: Mapping[str, Mapping[str, Any]],
) -> Run:
    ours = tuple(launch for launch in launches if launch.run_id == run_id)
    attempts = record.attempts if record else ()
    ids = {launch.call_id for launch in ours} | {attempt.call for attempt in attempts if attempt.call}
    return Run(
        run_id=run_id,
        job=record.job if record else ours[0].job,
        places=places,
        record=record,
        launches=ours,
        calls={call: answer for call, answer in calls.items() if call in ids},
    )


def read_found(place: str, answer: Mapping[str, Any]) -> Found:
    """Return what a place answered: documents by their path. One that is no record hides none of the others."""
    records, launches, problems = [], [], []
    for path, document in answer.get("records", {}).items():
        try:
            records.append(RunRecord.model_validate(document))
        except ValidationError as error:
            problems.append(f"{place}: {path}: {_first(error)}")
    for path, document in answer.get("launches", {}).items():
        try:
            launches.append(Launch.model_validate(document))
        except ValidationError as error:
            problems.append(f"{place}: {path}: {_first(error)}")
    return Found(
        place=place,
        records=tuple(records),
        launches=tuple(launches),
        calls=answer.get("calls", {}),
        problems=tuple(problems),
    )


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'the document'}: {problem['msg']}"
