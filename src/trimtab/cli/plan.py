"""`trimtab plan`: each step with what it is predicted to take, and whether the whole fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trimtab.cli.options import CATALOGUE, JSON
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.errors import BudgetError
from trimtab.images.estimate import read_declared
from trimtab.plan import Plan, Verdict, judge, require_fit
from trimtab.project import find_project
from trimtab.steps.plans import local_plan
from trimtab.units import format_duration, format_size, format_usd


@click.command()
@CATALOGUE
@JSON
def plan(*, catalogue: Path | None, as_json: bool) -> None:
    """Show what the whole way takes, and whether it fits; exit 6 when it does not. Nothing is written.

    Predictions come from the ledger where a step has run here before, and are declared where it has not.
    """
    project = find_project(catalogue)
    whole = local_plan(
        project.catalogue,
        Ledger(project.state / "ledger.jsonl").measured(),
        read_declared(project.root, project.catalogue),
    )
    verdicts = judge(whole, project.catalogue.budgets)
    failure: BudgetError | None = None
    try:
        require_fit(whole, project.catalogue.budgets)
    except BudgetError as error:
        failure = error
    console = Console(as_json=as_json)
    console.result(plan_document(whole, verdicts), text=lambda: print_plan(console, whole, verdicts), failure=failure)


def plan_document(whole: Plan, verdicts: tuple[Verdict, ...]) -> dict[str, Any]:
    """Return a plan as plain data."""
    return {
        "fits": all(verdict.fits for verdict in verdicts),
        "budgets": [
            {
                "budget": v.budget,
                "need": v.need,
                "limit": v.limit,
                "fits": v.fits,
                "remedy": None if v.fits else v.remedy,
            }
            for v in verdicts
        ],
        "steps": [
            {
                "step": step.name,
                "title": step.title,
                "basis": step.basis,
                "peak_bytes": step.predicted.peak_bytes,
                "kept_bytes": step.predicted.kept_bytes,
                "memory_bytes": step.predicted.memory_bytes,
                "wall_s": step.predicted.wall_s,
                "usd": step.predicted.usd,
            }
            for step in whole.steps
        ],
    }


def print_plan(console: Console, whole: Plan, verdicts: tuple[Verdict, ...]) -> None:
    """Print a plan as two tables."""
    rows = [
        (
            step.name,
            step.basis,
            format_size(step.predicted.peak_bytes),
            format_size(step.predicted.kept_bytes),
            "-" if step.predicted.memory_bytes is None else format_size(step.predicted.memory_bytes),
            format_duration(step.predicted.wall_s),
            format_usd(step.predicted.usd),
        )
        for step in whole.steps
    ]
    console.table("The plan", ("step", "by", "disk peak", "disk kept", "memory", "time", "money"), rows, right=2)
    budgets = [(v.budget, v.need_text, v.limit_text, "fits" if v.fits else f"OVER: {v.remedy}") for v in verdicts]
    console.table("The budgets", ("budget", "needs", "may take", "verdict"), budgets)
