"""`trimtab images`: plan, build, deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trimtab.cli.compose import compose
from trimtab.cli.images_changed import changed
from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON
from trimtab.cli.outcome import carry_out, outcome_document, print_outcomes, worst_of
from trimtab.cli.rollback import releases, rollback
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.errors import BudgetError
from trimtab.plan import Plan
from trimtab.project import Project, find_project
from trimtab.steps.fit import MOST_JOBS, Fit, fit
from trimtab.steps.plans import LOCAL_VARIANT, ImagesWanted, images_plan


class _Jobs(click.ParamType[int | None]):
    name = "jobs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        known = {"auto": None, **{str(count): count for count in range(1, MOST_JOBS + 1)}}
        if str(value) not in known:
            self.fail(f"{value!r} is neither auto nor a number from 1 to {MOST_JOBS}", param, ctx)
        return known[str(value)]


SERVICES = click.argument("services", nargs=-1, metavar="[SERVICE]...")
VARIANT = click.option("--variant", default=LOCAL_VARIANT, show_default=True, help="Which build of the services.")
JOBS = click.option(
    "--jobs",
    type=_Jobs(),
    default="auto",
    show_default=True,
    metavar="auto|N",
    help=f"How many side by side, at most {MOST_JOBS}; auto: as many as the disk and the cores allow.",
)
PUSH = click.option("--push", is_flag=True, help="Push each image to the catalogue's registry, and name it by digest.")


@click.group()
def images() -> None:
    """Build the services' images within their budgets, and release them."""


@images.command()
@SERVICES
@VARIANT
@JOBS
@CATALOGUE
@JSON
def plan(*, services: tuple[str, ...], variant: str, jobs: int | None, catalogue: Path | None, as_json: bool) -> None:
    """Show what building takes, in which order, and whether it fits; exit 6 when it does not. Nothing is written.

    Sizes come from the ledger where a step has run here before, else from the sizes beside the lock.

    \b
    Examples:
      trimtab images plan                     every service, on the CPU
      trimtab images plan --variant gpu       what the GPU images would take
      trimtab images plan NAME --json         one of them, for a script
    """
    from trimtab.cli.images_plan import plan_document, print_plan

    project = find_project(catalogue)
    console = Console(as_json=as_json)
    wanted = ImagesWanted(services=services, variant=variant)
    whole, fitted = _fitted(project, console, wanted, jobs)
    failure: BudgetError | None = None
    try:
        fitted.require(variant=variant)
    except BudgetError as error:
        failure = error
    document = plan_document(project, whole, fitted, variant=variant)
    console.result(document, text=lambda: print_plan(console, document), failure=failure)


@images.command()
@SERVICES
@VARIANT
@JOBS
@PUSH
@click.option("--keep", is_flag=True, help="With --push: keep each image here as well.")
@CATALOGUE
@DRY_RUN
@JSON
def build(
    *,
    services: tuple[str, ...],
    variant: str,
    jobs: int | None,
    push: bool,
    keep: bool,
    catalogue: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build the images of SERVICEs, or of every one, and hold each against its size budget.

    What does not fit is refused with exit 6 before a byte is written. A service that fails stops no other one; the
    exit code is then the highest of theirs. With --push an image is removed here once the registry has it, and one
    that the registry has already is not built.

    \b
    Examples:
      trimtab images build                 every service; a second run builds only what changed
      trimtab images build NAME --json     one of them, for a script
      trimtab images build --push          to the registry, each making room for the next
    """
    wanted = ImagesWanted(services=services, variant=variant, push=push, keep=keep)
    _carry_out(find_project(catalogue), wanted, jobs, dry_run=dry_run, as_json=as_json)


@images.command()
@SERVICES
@VARIANT
@JOBS
@PUSH
@click.option("--host", "--vm", metavar="HOST", help="Release on this machine over SSH instead of here.")
@CATALOGUE
@DRY_RUN
@JSON
def deploy(
    *,
    services: tuple[str, ...],
    variant: str,
    jobs: int | None,
    push: bool,
    host: str | None,
    catalogue: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build, verify and release SERVICEs, or every one, each before the next is begun.

    A release must be healthy and answer a real picture rightly before traffic moves to it; until then, and whatever
    fails, what served before serves on.

    \b
    Examples:
      trimtab images deploy                      every service, here
      trimtab images deploy NAME --variant gpu   one of them
      trimtab images deploy --host vm.example    on another machine
    """
    wanted = ImagesWanted(services=services, variant=variant, release=True, push=push, host=host)
    _carry_out(find_project(catalogue), wanted, jobs, dry_run=dry_run, as_json=as_json)


def _carry_out(project: Project, wanted: ImagesWanted, jobs: int | None, *, dry_run: bool, as_json: bool) -> None:
    console = Console(as_json=as_json)
    if dry_run:
        carry_out(project, _whole(project, wanted), console, dry_run=True)
        return
    whole, fitted = _fitted(project, console, wanted, jobs)
    fitted.require(variant=wanted.variant)
    record = carry_out(project, whole, console, dry_run=False, keep_going=True)
    console.result(
        outcome_document(project, record),
        text=lambda: print_outcomes(console, project, record),
        failure=worst_of(record),
    )


def _whole(project: Project, wanted: ImagesWanted) -> Plan:
    from trimtab.images.estimate import read_declared

    measured = Ledger(project.state / "ledger.jsonl").measured()
    return images_plan(project.catalogue, measured, read_declared(project.root, project.catalogue), wanted)


def _fitted(project: Project, console: Console, wanted: ImagesWanted, jobs: int | None) -> tuple[Plan, Fit]:
    """Return the whole plan with as many jobs as fit, and how what is left of it does."""
    from dataclasses import replace

    from trimtab.executor import left_of
    from trimtab.steps.wiring import real_executor, watched

    whole = _whole(project, wanted)
    left = left_of(whole, real_executor(project, console).look(whole))
    fitted = fit(left, project.catalogue.budgets, watched(project), jobs=jobs)
    return replace(whole, jobs=fitted.left.jobs), fitted


for command in (changed, compose, releases, rollback):
    images.add_command(command)
