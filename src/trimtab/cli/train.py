"""`trimtab train`: one job."""

from __future__ import annotations

from pathlib import Path

import click

from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON
from trimtab.cli.outcome import carry_out, outcome_document, print_outcomes
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.plan import require_fit
from trimtab.project import find_project
from trimtab.steps.plans import training_plan


@click.command()
@click.argument("job")
@click.option("--label", default="", help="Train the same inputs once more, as a run of its own with this label.")
@CATALOGUE
@DRY_RUN
@JSON
def train(*, job: str, label: str, catalogue: Path | None, dry_run: bool, as_json: bool) -> None:
    """Train JOB on this machine, with the credentials of its role on the embedded AWS.

    The same inputs (data, configuration, code) are the same run: one that was cut off goes on from its last complete
    checkpoint, one that is finished is not trained again.

    \b
    Examples:
      trimtab train NAME
      trimtab train NAME --label second-opinion
    """
    project = find_project(catalogue)
    console = Console(as_json=as_json)
    measured = Ledger(project.state / "ledger.jsonl").measured()
    plan = training_plan(project.catalogue, measured, job=job, label=label)
    require_fit(plan, project.catalogue.budgets)
    record = carry_out(project, plan, console, dry_run=dry_run)
    if not dry_run:
        console.result(outcome_document(project, record), text=lambda: print_outcomes(console, project, record))
