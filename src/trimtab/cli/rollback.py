"""`trimtab images rollback` and `trimtab images releases`: back to what was healthy, and what there is to go to."""

from __future__ import annotations

from pathlib import Path

import click

from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON
from trimtab.cli.outcome import carry_out, outcome_document, print_outcomes
from trimtab.console import Console
from trimtab.plan import Plan
from trimtab.project import find_project
from trimtab.steps.plans import require_known

HOST = click.option("--host", metavar="[USER@]HOST", help="The engine of a machine over SSH; default: this machine's.")


@click.command()
@click.argument("service")
@click.option("--to", metavar="DIGEST", help="A release by its digest or number; default: the last healthy one.")
@HOST
@CATALOGUE
@DRY_RUN
@JSON
def rollback(
    *, service: str, to: str | None, host: str | None, catalogue: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Go back to the last release of SERVICE that was healthy, without a gap.

    It starts beside the one that serves, from the image and the models that are kept on the host, and must pass the
    same gate: healthy, and the golden request answered rightly. If it does not, exit 7, and nothing has changed.

    \b
    Examples:
      trimtab images rollback NAME
      trimtab images rollback NAME --to sha256:5a17c0de
      trimtab images rollback NAME --host deploy@vm.example
    """
    from trimtab.steps.rollback import rollback_step

    project = find_project(catalogue)
    require_known("service", service, tuple(project.catalogue.services))
    console = Console(as_json=as_json)
    step = rollback_step(service, project.catalogue.services[service], to=to, host=host)
    record = carry_out(project, Plan(steps=(step,)), console, dry_run=dry_run)
    if not dry_run:
        console.result(outcome_document(project, record), text=lambda: print_outcomes(console, project, record))


@click.command()
@click.argument("service")
@HOST
@CATALOGUE
@JSON
def releases(*, service: str, host: str | None, catalogue: Path | None, as_json: bool) -> None:
    """Show the releases of SERVICE that a host knows, newest first: digest, commit, models, when, and how it stands."""
    from dataclasses import asdict

    from trimtab.images.host import engine_of, require_host
    from trimtab.images.record import judgement
    from trimtab.process import ProcessRunner
    from trimtab.steps.rollback import standing_front

    project = find_project(catalogue)
    require_known("service", service, tuple(project.catalogue.services))
    with engine_of(host and require_host(host), ProcessRunner()) as client:
        record = standing_front(client, project, service).record_at_once()
    newest = tuple(reversed(record.releases))
    console = Console(as_json=as_json)
    rows = [
        (
            str(release.number),
            judgement(release, record),
            release.digest.removeprefix("sha256:")[:12],
            release.commit[:10] or "-",
            ", ".join(f"{file} {sha256[:8]}" for file, sha256 in release.models.items()) or "-",
            release.made_at,
            release.why or "-",
        )
        for release in newest
    ]
    columns = ("release", "state", "digest", "commit", "models", "made at", "refused because")
    console.result(
        {
            "service": service,
            "live": record.live,
            "releases": [{**asdict(release), "state": judgement(release, record)} for release in newest],
        },
        text=lambda: console.table(f"Releases of {service}", columns, rows),
    )
