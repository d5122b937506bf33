"""`trimtab runs`: the registry of training runs, from whichever machine; and what can be done to one on Modal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trimtab.cli.options import CATALOGUE, JSON, STACK, Duration
from trimtab.console import Console
from trimtab.errors import ProgramError, UsageError
from trimtab.process import Command, ProcessRunner, run_attached
from trimtab.project import Project, find_project
from trimtab.units import format_size

if TYPE_CHECKING:
    from trimtab.steps.registry import Asked
    from trimtab.storage.registry import Registry, Run

_ON = click.option(
    "--on",
    "places",
    type=click.Choice(["here", "modal", "bucket"]),
    multiple=True,
    help="Whom to ask; default: all that are set up.",
)
_EMBEDDED = click.option("--embedded", is_flag=True, help="Ask the embedded Modal, though there is a token.")
_STOPPING_S: Final = 120.0


@click.group(invoke_without_command=True)
@CATALOGUE
@JSON
@click.pass_context
def runs(context: click.Context, *, catalogue: Path | None, as_json: bool) -> None:
    """List training runs, show and compare them, follow and stop those on Modal, fetch what they made.

    \b
    Examples:
      trimtab runs                            what `runs list` says
      trimtab runs list --on modal            what lies on the Volume, from any machine with a token
      trimtab runs show RUN --json
      trimtab runs compare RUN OTHER
      trimtab runs follow RUN                 what it says, until it has ended
      trimtab runs stop RUN                   a checkpoint, then the end
      trimtab runs fetch RUN                  its checkpoints and files, verified
    """
    if context.invoked_subcommand is None:
        _list(catalogue, (), job=None, embedded=False, stack="dev", as_json=as_json)


@runs.command("list")
@click.option("--job", help="Only the runs of this job.")
@_ON
@_EMBEDDED
@STACK
@CATALOGUE
@JSON
def list_runs(
    *, catalogue: Path | None, places: tuple[Any, ...], job: str | None, embedded: bool, stack: str, as_json: bool
) -> None:
    """List the runs, newest first: how each stands, how far it is, and what it cost so far."""
    _list(catalogue, places, job=job, embedded=embedded, stack=stack, as_json=as_json)


def _list(
    catalogue: Path | None, places: tuple[Any, ...], *, job: str | None, embedded: bool, stack: str, as_json: bool
) -> None:
    from trimtab.cli import run_sheet

    project, console, asked = _asking(catalogue, places, embedded=embedded, stack=stack, as_json=as_json)
    registry = _told(console, asked.registry())
    chosen = [run for run in registry.runs if job in (None, run.job)]
    for run in chosen:
        _settle(project, run)
    console.result(
        {"runs": [run_sheet.document_of(run) for run in chosen], "unreadable": list(registry.problems)},
        text=lambda: console.table("Training runs", run_sheet.COLUMNS, [run_sheet.row_of(run) for run in chosen]),
    )


@runs.command()
@click.argument("run_id")
@_ON
@_EMBEDDED
@STACK
@CATALOGUE
@JSON
def show(
    *, run_id: str, catalogue: Path | None, places: tuple[Any, ...], embedded: bool, stack: str, as_json: bool
) -> None:
    """Show all that is known of a run: configuration, commit, data, machine, attempts, metrics, cost, artifacts."""
    from trimtab.cli import run_sheet

    project, console, asked = _asking(catalogue, places, embedded=embedded, stack=stack, as_json=as_json)
    run = asked.run(run_id)
    _settle(project, run)
    console.result(run_sheet.document_of(run), text=lambda: run_sheet.show(console, run))


@runs.command()
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN RUN...")
@_ON
@_EMBEDDED
@STACK
@CATALOGUE
@JSON
def compare(
    *,
    run_ids: tuple[str, ...],
    catalogue: Path | None,
    places: tuple[Any, ...],
    embedded: bool,
    stack: str,
    as_json: bool,
) -> None:
    """Compare runs: what differs in what went in, and what came out of each."""
    from trimtab.cli import run_sheet

    if len(run_ids) < 2:
        raise UsageError("one run is compared with nothing", why="only one is named", remedy="name two or more")
    _, console, asked = _asking(catalogue, places, embedded=embedded, stack=stack, as_json=as_json)
    known = {run.run_id: run for run in _told(console, asked.registry()).runs}
    if missing := [run_id for run_id in run_ids if run_id not in known]:
        raise UsageError(
            f"there is no run {missing[0]}",
            why=f"the places that were asked know {len(known)} others",
            remedy="`trimtab runs list` names those that there are",
        )
    chosen = [known[run_id] for run_id in run_ids]
    differing, measured = run_sheet.compared(chosen)

    def text() -> None:
        console.table("What went in, where it differs", ("", *run_ids), run_sheet.cells(differing))
        console.table("What came out", ("", *run_ids), run_sheet.cells(measured))

    console.result({"runs": list(run_ids), "differing": differing, "measured": measured}, text=text)


@runs.command()
@click.argument("run_id")
@click.option("--tail", type=click.IntRange(min=1), metavar="LINES", help="Only the last lines, and no waiting.")
@click.option("--for", "limit", type=Duration(), help="Leave after so long; the run goes on.")
@_EMBEDDED
@CATALOGUE
@JSON
def follow(
    *,
    run_id: str,
    tail: int | None,
    limit: float | None,
    embedded: bool,
    catalogue: Path | None,
    as_json: bool,
) -> None:
    """Print what a run on Modal says, until it has ended; Ctrl-C leaves it running.

    Exit codes: 0 it has finished, or goes on; 7 it has ended otherwise.
    """
    from trimtab.cli.following import follow_to_its_end, launch_of

    project, console, asked = _asking(catalogue, ("modal",), embedded=embedded, stack="dev", as_json=as_json)
    client = asked.modal()
    if tail is None:
        follow_to_its_end(project, console, client, run_id, limit_s=limit)
        return
    run = asked.run(run_id)
    launch = launch_of(run)
    argv = client.logs_argv(launch.app_id, call_id=launch.call_id, follow=False, lines=tail)
    run_attached(Command(argv=argv, env=client.env, hint="`modal app list` shows the apps that there are"))


@runs.command()
@click.argument("run_id")
@_EMBEDDED
@CATALOGUE
@JSON
def stop(*, run_id: str, embedded: bool, catalogue: Path | None, as_json: bool) -> None:
    """Stop a run on Modal: it saves a checkpoint and ends, and is not tried again. `train` goes on with it."""
    from trimtab.cli.following import until_over
    from trimtab.steps.registry import call_of

    project, console, asked = _asking(catalogue, ("modal",), embedded=embedded, stack="dev", as_json=as_json)
    run = asked.run(run_id)
    call = call_of(run, "end it where it was started, with Ctrl-C")
    if run.open_call is None:
        _settle(project, run)
        document = {"run_id": run_id, "call_id": call, "stopped": False, "state": run.state}
        console.result(document, text=lambda: console.line(f"{run_id} does not run: it is {run.state}"))
        return
    client = asked.modal()
    client.stop(call)
    with console.step(f"waiting until {run_id} has saved and ended") as say:
        ended = until_over(asked, run_id, limit_s=_STOPPING_S, say=say)
    _settle(project, ended)
    document = {"run_id": run_id, "call_id": call, "stopped": ended.open_call is None, "state": ended.state}
    step = ended.record.attempts[-1].last_step if ended.record and ended.record.attempts else 0
    failure = None
    if ended.open_call is not None:
        failure = ProgramError(
            f"{run_id} was told to stop, and has not ended yet",
            why="its container has not answered within two minutes",
            remedy=f"look again with `trimtab runs show {run_id}`; `modal app stop` ends it without a checkpoint",
        )
    console.result(
        document, text=lambda: console.line(f"{run_id} is {ended.state}, saved at step {step}"), failure=failure
    )


@runs.command()
@click.argument("run_id")
@_ON
@_EMBEDDED
@STACK
@CATALOGUE
@JSON
def fetch(
    *, run_id: str, catalogue: Path | None, places: tuple[Any, ...], embedded: bool, stack: str, as_json: bool
) -> None:
    """Bring a run's checkpoints, files and record to this machine; what is here already is not brought again.

    Interrupted, the same command goes on. Nothing shows before all of it is there and its checksums are right.
    """
    from trimtab.steps.registry import record_of
    from trimtab.storage.run_files import fetch_run

    project, console, asked = _asking(catalogue, places, embedded=embedded, stack=stack, as_json=as_json)
    run = asked.run(run_id)
    results = project.state / "results"
    record, source = record_of(run), asked.source(run)
    with console.step(f"fetching {run_id}") as say:
        fetched = fetch_run(source, record, results, say=say)
    _remember_launches(results, run)
    _settle(project, run)
    where = results / record.run_directory
    document = {
        "run_id": run_id,
        "directory": str(where),
        "files": fetched.files,
        "size_bytes": fetched.size_bytes,
        "brought_files": fetched.brought_files,
        "brought_bytes": fetched.brought_bytes,
        "gone": list(fetched.gone),
    }

    def text() -> None:
        rest = "" if fetched.brought_files == fetched.files else "; the rest is here"
        console.line(f"fetched   {fetched.brought_files} files, {format_size(fetched.brought_bytes)}{rest}")
        console.line(f"run       {where}")

    console.result(document, text=text)


def _asking(
    catalogue: Path | None, places: tuple[Any, ...], *, embedded: bool, stack: str, as_json: bool
) -> tuple[Project, Console, Asked]:
    from trimtab.steps.registry import Asked

    project = find_project(catalogue)
    asked = Asked(project=project, runner=ProcessRunner(), places=places, embedded=embedded, stack=stack)
    return project, Console(as_json=as_json), asked


def _told(console: Console, registry: Registry) -> Registry:
    for problem in registry.problems:
        console.say(f"passed over: {problem}", style="yellow")
    return registry


def _settle(project: Project, run: Run) -> None:
    """Write what a run that is over cost into the ledger, once."""
    from trimtab.cost.ledger import Ledger
    from trimtab.cost.spending import settle

    settle(Ledger(project.state / "ledger.jsonl"), run)


def _remember_launches(results: Path, run: Run) -> None:
    from trimtab.storage.launches import write_launch

    for launch in run.launches:
        write_launch(results, launch)
