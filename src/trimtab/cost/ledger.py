"""The ledger: what each step really took, one JSON line each, appended and never rewritten.

Written by the executor after every step; read by the planner, whose next prediction is what it took.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from trimtab.errors import UsageError
from trimtab.plan import Cost, Step

_MAX_BYTES: Final = 32 * 1024 * 1024
_RUNS: Final = 5

Outcome = Literal["done", "already done", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One step of one run: when, what was predicted, what was measured, how it ended, and what it left.

    `alone` is False where other steps ran beside it: what was measured is then also theirs, and predicts nothing.
    """

    run: str
    step: str
    at: str
    outcome: Outcome
    predicted: Cost
    measured: Cost | None
    result: Mapping[str, Any]
    alone: bool = True


class Ledger:
    """The file `.trimtab/ledger.jsonl`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, entry: Entry) -> None:
        """Write one line, whole and synced; lines of two runs never mix (one write in append mode)."""
        line = json.dumps(asdict(entry), separators=(",", ":"), sort_keys=True) + "\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if _ends_torn(descriptor):
                line = "\n" + line
            unwritten = line.encode()
            while unwritten:  # a disk that fills up takes a part, and says so only when the rest is tried
                unwritten = unwritten[os.write(descriptor, unwritten) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def entries(self) -> tuple[Entry, ...]:
        """Return every whole line, oldest first; a line that a killed writer left torn is passed over."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _MAX_BYTES))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise UsageError(
                f"the ledger {self._path} cannot be read",
                why=error.strerror or str(error),
                remedy="make it readable, or move it away: predictions then fall back to what is declared",
            ) from error
        return tuple(entry for line in lines if (entry := _parse(line)) is not None)

    def measured(self) -> dict[str, Cost]:
        """Return for each step's name the most that it took in its last five real runs.

        The most, and not the last: a build that found its layers cached says nothing about one that does not.
        """
        taken: dict[str, deque[Cost]] = defaultdict(lambda: deque(maxlen=_RUNS))
        for entry in self.entries():
            if entry.outcome == "done" and entry.measured is not None and entry.alone:
                taken[entry.step].append(entry.measured)
        return {step: _most(costs) for step, costs in taken.items()}


def entry_of(
    step: Step, *, run: str, outcome: Outcome, measured: Cost | None, result: Mapping[str, Any], alone: bool = True
) -> Entry:
    """Return the entry of a step that just ended."""
    return Entry(
        run=run,
        step=step.name,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        outcome=outcome,
        predicted=step.predicted,
        measured=measured,
        result=result,
        alone=alone,
    )


def _most(costs: Iterable[Cost]) -> Cost:
    found = tuple(costs)
    return Cost(
        peak_bytes=max(cost.peak_bytes for cost in found),
        kept_bytes=max(cost.kept_bytes for cost in found),
        memory_bytes=max(cost.memory_bytes or 0 for cost in found) or None,
        wall_s=max(cost.wall_s for cost in found),
        usd=max(cost.usd for cost in found),
    )


def _ends_torn(descriptor: int) -> bool:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _parse(line: bytes) -> Entry | None:
    try:
        record = json.loads(line)
        measured = record.pop("measured")
        return Entry(
            predicted=Cost(**record.pop("predicted")),
            measured=None if measured is None else Cost(**measured),
            **record,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
