"""Carry out a Plan: one executor runs it, another only shows it. Neither knows what a step does; handlers do.

Order: every handler's preflight (nothing is written yet), then step by step: skip what is finished, run, measure,
write the ledger. A failure stops the run and leaves what stood before it; the next run goes on from there.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trimtab.console import Console
from trimtab.cost.ledger import Ledger, Outcome, entry_of
from trimtab.disk.meter import Meter, free_bytes
from trimtab.errors import BudgetError, ProgramError
from trimtab.plan import Action, Cost, Plan, Step, peak_of
from trimtab.units import format_duration, format_size

Say = Callable[[str], None]
Result = Mapping[str, Any]


class Handler(Protocol):
    """What carries out one type of action."""

    def preflight(self, action: Any) -> None:
        """Raise what would make the step fail, as far as it can be told before anything is written."""

    def finished(self, action: Any) -> Result | None:
        """Return the result of an earlier run when what it made still stands, looked at and not remembered."""

    def run(self, action: Any, say: Say) -> Result:
        """Do it; `say` shows a line of progress. Leaves nothing half-done when it raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """How one step ended."""

    step: Step
    outcome: Outcome
    measured: Cost | None
    result: Result
    started_s: float
    ended_s: float

    @property
    def verdict(self) -> str:
        """Say how the measurement stands to the prediction."""
        if self.measured is None:
            return "nothing to do"
        predicted, measured = self.step.predicted, self.measured
        over = []
        if measured.peak_bytes > predicted.peak_bytes:
            over.append(f"disk +{format_size(measured.peak_bytes - predicted.peak_bytes)}")
        if measured.wall_s > predicted.wall_s:
            over.append(f"time +{format_duration(measured.wall_s - predicted.wall_s)}")
        if predicted.memory_bytes is not None and (measured.memory_bytes or 0) > predicted.memory_bytes:
            over.append(f"memory +{format_size((measured.memory_bytes or 0) - predicted.memory_bytes)}")
        return f"over its plan: {', '.join(over)}" if over else "within its plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A whole run: its outcomes in order, and the meter's samples as (seconds since the start, used bytes)."""

    run: str
    outcomes: tuple[StepOutcome, ...]
    disk: tuple[tuple[float, int], ...] = field(default=())

    def result(self, step: str) -> Result:
        """Return what a step left."""
        return next(outcome.result for outcome in self.outcomes if outcome.step.name == step)


class Executor:
    """Runs plans for real."""

    def __init__(
        self,
        handlers: Mapping[type[Action], Handler],
        *,
        ledger: Ledger,
        console: Console,
        watched: tuple[Path, ...],
    ) -> None:
        """`watched` are the folders that steps write to: the state's and the engine's."""
        self._handlers = handlers
        self._ledger = ledger
        self._console = console
        self._watched = watched

    def run(self, plan: Plan, *, run: str) -> RunRecord:
        """Run every step that is not finished. Raises what the first failing step raises."""
        for step in plan.steps:
            self._handler(step).preflight(step.action)
        standing = {step.name: self._finished(step) for step in plan.steps}
        self._require_room([step.predicted for step in plan.steps if standing[step.name] is None])
        outcomes: list[StepOutcome] = []
        with Meter(self._watched) as meter:
            origin_s = meter.samples[0].at_s
            for step in plan.steps:
                # What was seen before the first step ran still stands; what a step did may have changed it.
                has_run = any(outcome.outcome == "done" for outcome in outcomes)
                finished = self._finished(step) if has_run else standing[step.name]
                outcomes.append(self._run_step(step, finished, meter, run, origin_s))
        disk = tuple((sample.at_s - origin_s, sample.used_bytes) for sample in meter.samples)
        return RunRecord(run=run, outcomes=tuple(outcomes), disk=disk)

    def _run_step(self, step: Step, finished: Result | None, meter: Meter, run: str, origin_s: float) -> StepOutcome:
        start = meter.sample()
        outcome: Outcome = "already done"
        measured: Cost | None = None
        result = finished
        if result is None:
            try:
                with self._console.step(step.title) as say:
                    result = self._handler(step).run(step.action, say)
            except BaseException as error:
                measured = meter.cost_since(start)
                failure = {"error": f"{type(error).__name__}: {error}"}
                self._record(step, run, "failed", measured, failure)
                if (full := _full_disk(error, step)) is not None:
                    raise full from error
                raise
            outcome, measured = "done", meter.cost_since(start)
        self._record(step, run, outcome, measured, result)
        took = "nothing to do" if measured is None else format_duration(measured.wall_s)
        self._console.say(f" ok  {step.title} ({took})", style="green")
        ended_s = time.monotonic() - origin_s
        return StepOutcome(
            step=step,
            outcome=outcome,
            measured=measured,
            result=result,
            started_s=start.at_s - origin_s,
            ended_s=ended_s,
        )

    def _record(self, step: Step, run: str, outcome: Outcome, measured: Cost | None, result: Result) -> None:
        try:
            self._ledger.append(entry_of(step, run=run, outcome=outcome, measured=measured, result=result))
        except OSError as error:
            if outcome == "failed":  # why it failed matters more
                self._console.say(f"the ledger could not be written: {error}", style="yellow")
                return
            if (full := _full_disk(error, step)) is not None:
                raise full from error
            raise

    def _require_room(self, left: list[Cost]) -> None:
        """Refuse when a watched file system has less room than the unfinished steps need."""
        need = peak_of(left)
        for folder in self._watched:
            free = free_bytes(folder)
            if free < need:
                raise BudgetError(
                    f"there is not enough room where {folder} lies; nothing was written",
                    why=f"the steps that are left need {format_size(need)} at their peak; {format_size(free)} is free",
                    remedy=f"free {format_size(need - free)} there, or move it to a larger disk",
                )

    def _finished(self, step: Step) -> Result | None:
        return self._handler(step).finished(step.action)

    def _handler(self, step: Step) -> Handler:
        return self._handlers[type(step.action)]


class DisplayExecutor:
    """Shows what a plan would do, and does none of it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def run(self, plan: Plan, *, run: str) -> RunRecord:
        """Say each step."""
        for step in plan.steps:
            self._console.say(f"would run  {step.name}: {step.title}")
        return RunRecord(run=run, outcomes=())


def _full_disk(error: BaseException, step: Step) -> BudgetError | None:
    """Return what to say when the disk is full, None when something else is wrong."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        why = f"{error.filename or 'the disk'}: {error.strerror}"
    elif isinstance(error, ProgramError) and os.strerror(errno.ENOSPC).lower() in error.why.lower():
        why = f"{error.what}: {error.why}"  # a program that we started met it, and says so in its last lines
    else:
        return None
    return BudgetError(
        f"step {step.name} stopped: the disk is full",
        why=why,
        remedy="free some space and run the same command again; it goes on where it stopped",
    )
