"""`trimtab local`: the whole way on this machine, once; the second time only what is not finished."""

from __future__ import annotations

from pathlib import Path

import click

from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON
from trimtab.cli.outcome import carry_out, outcome_document, print_outcomes
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.images.estimate import read_declared
from trimtab.plan import require_fit
from trimtab.project import current_commit, find_project
from trimtab.steps.plans import local_plan
from trimtab.units import format_duration, format_size


@click.command()
@CATALOGUE
@DRY_RUN
@JSON
def local(*, catalogue: Path | None, dry_run: bool, as_json: bool) -> None:
    """Provision, publish, build, serve and train on this machine, with no account anywhere.

    Everything is planned against the budgets first; over budget is exit 6 before a byte is written. A second run
    repeats no finished work, and one that was cut off goes on where it stopped. The page is that of the last run that
    did something.

    \b
    Examples:
      trimtab local             do it
      trimtab local --dry-run   show the steps
      trimtab status            what serves afterwards
      trimtab down              stop it again
    """
    project = find_project(catalogue)
    console = Console(as_json=as_json)
    plan = local_plan(
        project.catalogue,
        Ledger(project.state / "ledger.jsonl").measured(),
        read_declared(project.root, project.catalogue),
    )
    verdicts = require_fit(plan, project.catalogue.budgets)
    console.say(
        f"{len(plan.steps)} steps; predicted: {format_size(plan.peak_bytes)} of disk at the peak, "
        f"{format_duration(plan.wall_s)}; it fits the budgets"
    )
    record = carry_out(project, plan, console, dry_run=dry_run)
    if dry_run:
        return
    from trimtab.report.local_run import report_of
    from trimtab.report.page import write_page

    page = project.state / "report" / "index.html"
    if not page.is_file() or any(outcome.outcome == "done" for outcome in record.outcomes):
        page = write_page(report_of(project, record, verdicts, commit=current_commit(project.root)), page.parent)
    console.result(
        outcome_document(project, record, page),
        text=lambda: print_outcomes(console, project, record, page),
    )
