"""Carry out a Plan: one executor runs it, another only shows it. Neither knows what a step does; handlers do.

Order: every handler's preflight (nothing is written yet), then step by step: skip what is finished, run, measure,
write the ledger. A failure leaves what stood before it, and skips the steps that need the one that failed; unless a
plan says otherwise that is every later one. The next run goes on from there.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from trimtab.console import Console
from trimtab.cost.ledger import Ledger, Outcome, entry_of
from trimtab.disk.meter import Meter, Sample, free_bytes, nearest_existing
from trimtab.errors import BudgetError, ProgramError, TrimtabError
from trimtab.plan import Action, Cost, Disk, Plan, Step
from trimtab.units import format_duration, format_size
from trimtab.workers import workers

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
    """How one step ended. `alone` is False where another ran beside it: the disk that was measured is also its."""

    step: Step
    outcome: Outcome
    measured: Cost | None
    result: Result
    started_s: float
    ended_s: float
    alone: bool = True
    failure: TrimtabError | None = None

    @property
    def verdict(self) -> str:
        """Say how the measurement stands to the prediction."""
        if self.outcome == "skipped":
            return f"skipped: {self.result['needs']} is not there"
        if self.failure is not None:
            return f"FAILED: {self.failure.what}"
        if self.measured is None:
            return "nothing to do"
        predicted, measured = self.step.predicted, self.measured
        over = []
        if self.alone and measured.peak_bytes > predicted.peak_bytes:
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

    @property
    def failures(self) -> tuple[TrimtabError, ...]:
        """What failed, in order."""
        return tuple(outcome.failure for outcome in self.outcomes if outcome.failure is not None)


class Executor:
    """Runs plans for real."""

    def __init__(
        self,
        handlers: Mapping[type[Action], Handler],
        *,
        ledger: Ledger,
        console: Console,
        watched: Mapping[Disk, Path],
    ) -> None:
        """`watched` are the folders that steps write to: the state's and the engine's."""
        self._handlers = handlers
        self._ledger = ledger
        self._console = console
        self._watched = watched

    def run(self, plan: Plan, *, run: str, keep_going: bool = False) -> RunRecord:
        """Run every step that is not finished, as many side by side as the plan says.

        Raises what the first failing step raised, once no step is left that can run; with `keep_going` the record
        holds the failures instead. An interrupt or a bug ends every step that runs, and is raised at once.
        """
        standing = self.look(plan)
        self._require_room(left_of(plan, standing))
        with Meter(tuple(self._watched.values())) as meter:
            origin_s = meter.samples[0].at_s
            outcomes = _Run(self, plan, standing, meter, run).carry_out()
        disk = tuple((sample.at_s - origin_s, sample.used_bytes) for sample in meter.samples)
        record = RunRecord(run=run, outcomes=outcomes, disk=disk)
        if record.failures and not keep_going:
            raise record.failures[0]
        return record

    def look(self, plan: Plan) -> dict[str, Result | None]:
        """Return for each step what stands of it already, once every handler has found nothing to refuse."""
        for step in plan.steps:
            self.handler(step).preflight(step.action)
        return {step.name: self.handler(step).finished(step.action) for step in plan.steps}

    def handler(self, step: Step) -> Handler:
        """Return what carries out a step."""
        return self._handlers[type(step.action)]

    def folder(self, step: Step) -> Path | None:
        """Return where a step writes, None where that is not watched by itself."""
        return self._watched.get(step.disk)

    @contextmanager
    def shown(self, step: Step, *, alone: bool) -> Iterator[Say]:
        """Show that a step runs: live where it is the only one, else line by line under its name."""
        if alone:
            with self._console.step(step.title) as say:
                yield say
            return
        self._console.say(f"-> {step.title}")
        yield lambda line: self._console.say(f"   {step.name}: {line}")

    def ended(self, outcome: StepOutcome, run: str) -> None:
        """Write a step's end into the ledger, and say it."""
        step, measured = outcome.step, outcome.measured
        self._record(outcome, run)
        if outcome.failure is not None:
            self._console.say(f"FAILED  {step.title}", style="red")
            return
        if outcome.outcome == "failed":  # by an interrupt, or by a bug, which the edge tells
            self._console.say(f"cut off  {step.title}", style="yellow")
            return
        took = "nothing to do" if measured is None else format_duration(measured.wall_s)
        self._console.say(f" ok  {step.title} ({took})", style="green")

    def _record(self, outcome: StepOutcome, run: str) -> None:
        try:
            entry = entry_of(
                outcome.step,
                run=run,
                outcome=outcome.outcome,
                measured=outcome.measured,
                result=outcome.result,
                alone=outcome.alone,
            )
            self._ledger.append(entry)
        except OSError as error:
            if outcome.outcome == "failed":  # why it failed matters more
                self._console.say(f"the ledger could not be written: {error}", style="yellow")
                return
            if (full := full_disk(error, outcome.step)) is not None:
                raise full from error
            raise

    def _require_room(self, left: Plan) -> None:
        """Refuse when a file system has less room than the unfinished steps that write to it need."""
        for folder, need, free in rooms(left, self._watched):
            if free < need:
                raise BudgetError(
                    f"there is not enough room where {folder} lies; nothing was written",
                    why=f"the steps that are left need {format_size(need)} at their peak; {format_size(free)} is free",
                    remedy=f"free {format_size(need - free)} there, or move it to a larger disk",
                )


def rooms(left: Plan, folders: Mapping[Disk, Path]) -> tuple[tuple[Path, int, int], ...]:
    """Return for each file system a folder on it, what the plan's steps that write there need, and what is free."""
    shared: dict[int, list[Disk]] = {}
    for disk, folder in folders.items():
        shared.setdefault(nearest_existing(folder).stat().st_dev, []).append(disk)
    return tuple(
        (folders[disks[0]], left.on(disks).peak_bytes, free_bytes(folders[disks[0]])) for disks in shared.values()
    )


def _at_least(measured: Cost, written_bytes: int) -> Cost:
    """Return a measurement that is no lower than what a step knows it wrote: a neighbour may have freed as much."""
    return replace(
        measured,
        peak_bytes=max(measured.peak_bytes, written_bytes),
        kept_bytes=max(measured.kept_bytes, written_bytes),
    )


def left_of(plan: Plan, standing: Mapping[str, Result | None]) -> Plan:
    """Return the steps of a plan of which nothing stands yet."""
    return plan.without({name for name, result in standing.items() if result is not None})


class _Run:
    """One run of one plan: which steps can run next, which run, and how those that ended did."""

    def __init__(
        self, executor: Executor, plan: Plan, standing: Mapping[str, Result | None], meter: Meter, run: str
    ) -> None:
        self._executor = executor
        self._plan = plan
        self._needs = plan.needs()
        self._standing = standing
        self._meter = meter
        self._run = run
        self._waiting = {step.name: step for step in plan.steps}
        self._running: dict[Future[StepOutcome], Step] = {}
        self._together: set[str] = set()
        self._outcomes: dict[str, StepOutcome] = {}

    def carry_out(self) -> tuple[StepOutcome, ...]:
        with workers(self._plan.jobs) as pool:
            while self._waiting or self._running:
                for step in islice(self._ready(), self._plan.jobs - len(self._running)):
                    if self._running:
                        self._together |= {step.name, *(other.name for other in self._running.values())}
                    self._running[pool.submit(partial(self._step, step))] = step
                for future in wait(self._running, return_when=FIRST_COMPLETED).done:
                    self._end(self._running.pop(future), future.result())
        return tuple(self._outcomes[step.name] for step in self._plan.steps)

    def _ready(self) -> Iterator[Step]:
        """Yield the steps that may run now; those that never can are done with."""
        for step in tuple(self._waiting.values()):
            needs = [self._outcomes.get(name) for name in self._needs[step.name]]
            lost = [need.step.name for need in needs if need is not None and need.outcome in ("failed", "skipped")]
            if lost:
                self._skip(self._waiting.pop(step.name), needs=min(lost))
            elif all(needs):
                yield self._waiting.pop(step.name)

    def _step(self, step: Step) -> StepOutcome:
        """Run a step, or find it finished. Runs in a worker."""
        start = self._meter.sample()
        folder = self._executor.folder(step)  # a neighbour's bytes on the other disk are not this step's
        handler = self._executor.handler(step)
        # What was seen before the first step ran still stands; what a step did may have changed it.
        has_run = any(outcome.outcome == "done" for outcome in tuple(self._outcomes.values()))
        result = handler.finished(step.action) if has_run else self._standing[step.name]
        if result is not None:
            return self._outcome(step, start, "already done", None, result)
        try:
            with self._executor.shown(step, alone=self._plan.jobs == 1) as say:
                result = handler.run(step.action, say)
        except BaseException as error:
            measured = self._meter.cost_since(start, folder)
            failed = self._outcome(step, start, "failed", measured, {"error": f"{type(error).__name__}: {error}"})
            if (failure := full_disk(error, step) or error) is not error:
                failure.__cause__ = error
            if isinstance(failure, TrimtabError):
                return replace(failed, failure=failure)
            self._executor.ended(failed, self._run)
            raise
        measured = _at_least(self._meter.cost_since(start, folder), result.get("written_bytes", 0))
        return self._outcome(step, start, "done", measured, result)

    def _end(self, step: Step, outcome: StepOutcome) -> None:
        self._outcomes[step.name] = outcome = replace(outcome, alone=step.name not in self._together)
        self._executor.ended(outcome, self._run)

    def _skip(self, step: Step, *, needs: str) -> None:
        now = self._meter.sample()
        self._outcomes[step.name] = self._outcome(step, now, "skipped", None, {"needs": needs})

    def _outcome(
        self, step: Step, start: Sample, outcome: Outcome, measured: Cost | None, result: Result
    ) -> StepOutcome:
        origin_s = self._meter.samples[0].at_s
        return StepOutcome(
            step=step,
            outcome=outcome,
            measured=measured,
            result=result,
            started_s=start.at_s - origin_s,
            ended_s=time.monotonic() - origin_s,
        )


class DisplayExecutor:
    """Shows what a plan would do, and does none of it."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def run(self, plan: Plan, *, run: str, keep_going: bool = False) -> RunRecord:  # noqa: ARG002 - nothing fails
        """Say each step."""
        for step in plan.steps:
            self._console.say(f"would run  {step.name}: {step.title}")
        return RunRecord(run=run, outcomes=())


def full_disk(error: BaseException, step: Step) -> BudgetError | None:
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
