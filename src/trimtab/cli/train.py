"""`trimtab train`: one job, on this machine or on Modal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON, Duration
from trimtab.cli.outcome import carry_out, outcome_document, print_outcomes
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.errors import UsageError
from trimtab.plan import Plan, require_fit
from trimtab.process import ProcessRunner
from trimtab.project import Project, find_project
from trimtab.steps.plans import training_plan
from trimtab.steps.training import Train

if TYPE_CHECKING:
    from trimtab.steps.launching import Launched, Priced, Wanted


@click.command()
@click.argument("job")
@click.option("--on", "where", type=click.Choice(["local", "modal"]), default="local", show_default=True)
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Hyperparameters; default: the job's.")
@click.option("--resume", is_flag=True, help="Only go on: refuse to begin anew.")
@click.option("--label", default="", help="Train the same inputs once more, as a run of its own with this label.")
@click.option("--run-id", default="", metavar="RUN", help="Go on with this run, though its code is another by now.")
@click.option(
    "--detach/--wait", default=True, show_default=True, help="On Modal: return once it is under way, or wait."
)
@click.option("--profile", help="On Modal: another machine than the job's own; deploy/modal/profiles/ names them.")
@click.option(
    "--max-usd",
    type=click.FloatRange(min=0, min_open=True),
    help="On Modal: refuse (exit 6) a run that is likely to cost more; stop it there, with a checkpoint.",
)
@click.option("--compute", type=Duration(), help="On Modal: how long the steps take, where no earlier run tells.")
@click.option("--embedded", is_flag=True, help="On Modal, but on the embedded one: no account, no bill.")
@CATALOGUE
@DRY_RUN
@JSON
def train(  # noqa: PLR0913 - one for each thing that a person may decide
    *,
    job: str,
    where: str,
    config: Path | None,
    resume: bool,
    label: str,
    run_id: str,
    detach: bool,
    profile: str | None,
    max_usd: float | None,
    compute: float | None,
    embedded: bool,
    catalogue: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train JOB on this machine with the credentials of its role, or on Modal.

    The same inputs (data, configuration, code) are the same run: one that was cut off goes on from its last complete
    checkpoint, one that runs or is finished is not trained again. On Modal it is sent and left alone: `trimtab runs`
    follows it, stops it and fetches what it made, from any machine.

    \b
    Examples:
      trimtab train NAME
      trimtab train NAME --label second-opinion
      trimtab train NAME --on modal --config configs/modal/NAME.yaml --max-usd 40
      trimtab train NAME --on modal --profile debug --embedded --wait
    """
    project = find_project(catalogue)
    console = Console(as_json=as_json)
    if label and run_id:
        raise UsageError("--label and --run-id say two things", why="each names the run", remedy="leave one out")
    action = Train(job=job, label=label, run_id=run_id, config=config and config.absolute(), must_resume=resume)
    if where == "local":
        _refuse_words_of_modal(profile=profile, max_usd=max_usd, compute=compute, embedded=embedded, wait=not detach)
        plan = _local_plan(project, action)
        require_fit(plan, project.catalogue.budgets)
        record = carry_out(project, plan, console, dry_run=dry_run)
        if not dry_run:
            console.result(outcome_document(project, record), text=lambda: print_outcomes(console, project, record))
        return
    from trimtab.steps.launching import Wanted

    wanted = Wanted(train=action, profile=profile, max_usd=max_usd, compute_s=compute)
    _launch(project, console, wanted, embedded=embedded, dry_run=dry_run, wait=not detach)


def _refuse_words_of_modal(**given: Any) -> None:
    for name, value in given.items():
        if value:
            raise UsageError(
                f"--{name.replace('_', '-')} means nothing on this machine",
                why="it is about a machine of Modal's, and what that costs",
                remedy="leave it out, or add --on modal (and --embedded where there is no account)",
            )


def _local_plan(project: Project, action: Train) -> Plan:
    measured = Ledger(project.state / "ledger.jsonl").measured()
    plan = training_plan(project.catalogue, measured, job=action.job, label=action.label)
    return replace(plan, steps=(*plan.steps[:-1], replace(plan.steps[-1], action=action)))


def _launch(project: Project, console: Console, wanted: Wanted, *, embedded: bool, dry_run: bool, wait: bool) -> None:
    from trimtab.cost.prices import current_prices
    from trimtab.cost.work import machine_of
    from trimtab.steps.launching import launch, learn, priced
    from trimtab.steps.modal_client import connect
    from trimtab.steps.plans import require_known

    job = wanted.train.job
    require_known("job", job, tuple(project.catalogue.jobs))
    prices, runner = current_prices(project), ProcessRunner()
    # Before anything is started: what is too dear, and what is no profile, needs neither a token nor a plane.
    machine = machine_of(project, runner, job, profile=wanted.profile)
    price = priced(project, wanted, prices, machine)
    _say_price(console, job, price, wanted.max_usd)
    if dry_run:
        console.result({"would_run": [f"launch:{job}"], **_price_document(price)}, text=lambda: None)
        return
    if embedded:  # the bucket that the job reads is this machine's too
        plan = _local_plan(project, wanted.train)
        plan = replace(plan, steps=plan.steps[:-1])
        require_fit(plan, project.catalogue.budgets)
        carry_out(project, plan, console, dry_run=False)
    client = connect(project, runner, embedded=embedded)
    if price.basis is None and learn(project, client, job):
        price = priced(project, wanted, prices, machine)
        _say_price(console, job, price, wanted.max_usd)
    with console.step(f"launching {job} on {client.server}") as say:
        launched = launch(project, client, wanted, prices, say=say)
    if wait:
        from trimtab.cli.following import follow_to_its_end

        follow_to_its_end(project, console, client, launched.run_id)
        return
    document = {**_document(launched), **_price_document(price)}
    console.result(document, text=lambda: _print(console, job, launched))


def _say_price(console: Console, job: str, price: Priced, max_usd: float | None) -> None:
    for line in price.told(job, max_usd):
        console.say(line)


def _price_document(price: Priced) -> dict[str, Any]:
    return {
        "usd_per_hour": price.usd_per_hour,
        "predicted_usd": {case.name: case.usd for case in price.cases},
        "compute_from": price.basis.told if price.basis else None,
        "prices_dated": price.prices_dated,
    }


def _document(launched: Launched) -> dict[str, Any]:
    return {
        "run_id": launched.run_id,
        "state": launched.state,
        "launched": launched.sent,
        "launch": launched.launch.model_dump(mode="json") if launched.launch else None,
    }


def _print(console: Console, job: str, launched: Launched) -> None:
    call = f", call {launched.launch.call_id}" if launched.launch else ""
    if launched.sent:
        console.line(f"launched  {launched.run_id}{call}")
        for verb in ("follow", "stop", "fetch"):
            console.line(f"{verb:<10}trimtab runs {verb} {launched.run_id}")
    else:
        console.line(f"nothing was launched: the run {launched.run_id} is {launched.state}{call}")
        console.line(f"again     trimtab train {job} --on modal --label ANOTHER trains the same inputs once more")
