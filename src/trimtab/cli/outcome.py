"""Carry out a plan from a command, and print how it went: one table, the addresses, the page."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trimtab.console import Console
from trimtab.errors import BudgetError, TrimtabError, UsageError
from trimtab.executor import RunRecord, StepOutcome
from trimtab.plan import Plan
from trimtab.project import Project
from trimtab.units import format_duration, format_size


def carry_out(project: Project, plan: Plan, console: Console, *, dry_run: bool, keep_going: bool = False) -> RunRecord:
    """Run a plan, one run at a time in a project.

    Raises what a step raises; with `keep_going` the record holds it.
    """
    from trimtab.steps.wiring import executor

    run = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    if dry_run:
        console.result({"would_run": [step.name for step in plan.steps]}, text=lambda: None)
        return executor(project, console, dry_run=True).run(plan, run=run)
    with _only_run(project):
        return executor(project, console, dry_run=False).run(plan, run=run, keep_going=keep_going)


def worst_of(record: RunRecord) -> TrimtabError | None:
    """Return what a run's failures come to: the only one, or one that tells of all with the highest exit code."""
    failures = record.failures
    if len(failures) < 2:
        return failures[0] if failures else None
    error = TrimtabError(
        f"{len(failures)} of {len(record.outcomes)} steps failed",
        why="\n".join(f"{failure.what}: {failure.why}" for failure in failures),
        remedy="; ".join(dict.fromkeys(failure.remedy for failure in failures)),
    )
    error.exit_code = max(failure.exit_code for failure in failures)
    return error


def print_outcomes(console: Console, project: Project, record: RunRecord, page: Path | None = None) -> None:
    """Print the table of steps, then what serves, what was trained, and where the page is."""
    rows = []
    for outcome in record.outcomes:
        predicted, measured = outcome.step.predicted, outcome.measured
        rows.append(
            (
                outcome.step.name,
                f"{format_size(predicted.peak_bytes)}, {format_duration(predicted.wall_s)}",
                "-" if measured is None else f"{format_size(measured.peak_bytes)}, {format_duration(measured.wall_s)}",
                _detail(outcome),
                outcome.verdict,
            )
        )
    console.table("What was done", ("step", "predicted", "measured", "result", "verdict"), rows)
    for outcome in record.outcomes:
        if "address" in outcome.result:
            console.line(f"serving   {outcome.result['address']}")
        elif "reference" in outcome.result:
            console.line(f"pushed    {outcome.result['reference']}")
        if "checkpoints" in outcome.result:
            console.line(f"trained   {outcome.result['checkpoints']}")
    if page is not None:
        console.line(f"report    {page}")
    console.line(f"ledger    {project.state / 'ledger.jsonl'}")


def outcome_document(project: Project, record: RunRecord, page: Path | None = None) -> dict[str, Any]:
    """Return a run's outcome as plain data."""
    return {
        "run": record.run,
        "report": None if page is None else str(page),
        "ledger": str(project.state / "ledger.jsonl"),
        "steps": [
            {
                "step": outcome.step.name,
                "outcome": outcome.outcome,
                "predicted": asdict(outcome.step.predicted),
                "measured": None if outcome.measured is None else asdict(outcome.measured),
                "verdict": outcome.verdict,
                "result": dict(outcome.result),
            }
            for outcome in record.outcomes
        ],
    }


def _detail(outcome: StepOutcome) -> str:
    """Say the one number that a step is about."""
    result = outcome.result
    if "over_base_bytes" in result:
        allowed = f" of at most {format_size(result['budget_bytes'])}" if "budget_bytes" in result else ""
        return f"{format_size(result['over_base_bytes'])} over its base{allowed}"
    if "golden" in result:
        return f"golden request right in {result['golden']['milliseconds']:.0f} ms"
    if "test_accuracy" in result:
        return f"test accuracy {result['test_accuracy']:.4f}"
    return ""


@contextmanager
def _only_run(project: Project) -> Iterator[None]:
    """Hold the project's lock. Raises UsageError when another command holds it."""
    try:
        project.state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(project.state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BudgetError(
                f"the state folder {project.state} has no room",
                why=error.strerror or str(error),
                remedy="free some space there, or name another one in TRIMTAB_STATE",
            ) from error
        raise UsageError(
            f"the state folder {project.state} cannot be written",
            why=error.strerror or str(error),
            remedy="make it writable, or name another one in TRIMTAB_STATE",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                "another command runs in this project",
                why=f"it holds {project.state / 'lock'}",
                remedy="wait until it has ended, or end it with Ctrl-C",
            ) from error
        yield
    finally:
        os.close(descriptor)
