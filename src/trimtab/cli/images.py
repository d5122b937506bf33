"""`trimtab images`: the services' images."""

from __future__ import annotations

from pathlib import Path

import click

from trimtab.cli.compose import compose
from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON
from trimtab.cli.outcome import carry_out, outcome_document, print_outcomes
from trimtab.cli.rollback import releases, rollback
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.plan import require_fit
from trimtab.project import find_project
from trimtab.steps.plans import LOCAL_VARIANT, build_plan


@click.group()
def images() -> None:
    """Build the services' images within their budgets."""


@images.command()
@click.argument("service", required=False)
@click.option("--variant", type=click.Choice(["cpu", "gpu"]), default=LOCAL_VARIANT, show_default=True)
@CATALOGUE
@DRY_RUN
@JSON
def build(*, service: str | None, variant: str, catalogue: Path | None, dry_run: bool, as_json: bool) -> None:
    """Build one SERVICE, or every one, and hold each against its size budget.

    \b
    Examples:
      trimtab images build                 every service, one after the other
      trimtab images build NAME --json     one of them, for a script
    """
    project = find_project(catalogue)
    console = Console(as_json=as_json)
    measured = Ledger(project.state / "ledger.jsonl").measured()
    plan = build_plan(project.catalogue, measured, service=service, variant=variant)
    require_fit(plan, project.catalogue.budgets)
    record = carry_out(project, plan, console, dry_run=dry_run)
    if not dry_run:
        console.result(outcome_document(project, record), text=lambda: print_outcomes(console, project, record))


for command in (compose, releases, rollback):
    images.add_command(command)
