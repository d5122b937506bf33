"""`trimtab modal`: the embedded Modal's start, end and state, and the real `modal` command on it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON, Duration
from trimtab.console import Console
from trimtab.errors import ProgramError, UsageError
from trimtab.process import Command, run_attached
from trimtab.project import Project, find_project
from trimtab.units import format_size

if TYPE_CHECKING:
    from trimtab.emulation.modal.control import RunningPlane

_KINDS: Final = {
    "history": "results and logs",
    "files": "code and data that were sent",
    "blobs": "big arguments and results",
    "client": "Modal's client, for containers",
    "attempts": "attempts that run",
    "images": "images (in the engine)",
    "volumes": "Volumes",
}


@click.group()
def modal() -> None:
    """Run Modal apps on this machine, with no account: the real client and its own container runtime.

    \b
    Examples:
      trimtab modal run app.py                 plane up, `modal run app.py` on it, plane kept
      eval "$(trimtab modal up --export)"      from here on every `modal ...` of this shell uses it
      trimtab modal status --json              what was deployed, with resources, mounts, retries, image layers
      trimtab modal interrupt my-app.train     take the container away, as Modal may: SIGINT, 30 s, kill, again
      trimtab modal trigger my-app nightly     call a deployed function as its schedule would
      trimtab modal prune --dry-run            what nothing needs any more, and what it takes
      trimtab modal down                       stop it; Volumes, secrets, results and logs stay
    """


def _positive(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and value <= 0:
        raise click.BadParameter("it must be more than 0")
    return value


@modal.command()
@click.option("--export", "as_export", is_flag=True, help='Print shell lines for eval "$(...)"; they hold the token.')
@click.option(
    "--runner",
    type=click.Choice(["auto", "docker", "namespace"]),
    default="auto",
    show_default=True,
    help="What attempts run in: containers, or processes in mount namespaces; auto: Docker where it answers.",
)
@click.option(
    "--time-scale",
    type=float,
    default=1.0,
    callback=_positive,
    metavar="FACTOR",
    help="Real seconds per second of a timeout, a retry's delay, an idle window: 0.001 makes 24 h 86 s.",
)
@click.option(
    "--grace",
    type=float,
    default=30.0,
    show_default=True,
    callback=_positive,
    metavar="SECONDS",
    help="What an interrupted attempt has before it is killed.",
)
@click.option(
    "--max-containers",
    type=int,
    callback=_positive,
    metavar="N",
    help="Containers of one function side by side; default: as many as this machine has CPUs.",
)
@CATALOGUE
@JSON
def up(*, catalogue: Path | None, as_json: bool, as_export: bool, runner: str, **limits: Any) -> None:
    """Start the embedded Modal unless it runs, and say how to use it."""
    from trimtab.emulation.modal.control import export_lines

    project = find_project(catalogue)
    _require_same(project, {"runner": runner, **limits})
    plane = _ensure_running(project, runner=runner, **limits)
    if as_export:
        click.echo(export_lines(plane.environment()), nl=False)
        return
    document = {**_where(plane), "environment_file": str(plane.state_dir / "environment")}
    console = Console(as_json=as_json)

    def text() -> None:
        console.line(f"embedded Modal  {plane.server_url} (process {plane.pid}, runner {plane.runner})")
        console.line(f'use it          . {plane.state_dir / "environment"}   or: eval "$(trimtab modal up --export)"')

    console.result(document, text=text)


@modal.command()
@CATALOGUE
@JSON
def down(*, catalogue: Path | None, as_json: bool) -> None:
    """Stop the embedded Modal with all that it runs. What it knows stays: Volumes, secrets, deployments, results."""
    from trimtab.emulation.modal import control

    state_dir = _state_dir(find_project(catalogue))
    left = control.left_running(state_dir)
    stopped = control.stop(state_dir)
    console = Console(as_json=as_json)
    said = f"stopped the embedded Modal; kept: {state_dir}" if stopped else "the embedded Modal did not run"
    if left and not stopped:
        said += f"; ended {left} attempt(s) that a killed one had left running"
    console.result({"stopped": stopped}, text=lambda: console.line(said))


@modal.command()
@CATALOGUE
@JSON
def status(*, catalogue: Path | None, as_json: bool) -> None:
    """Show apps with what they declare, containers, Volumes, the names of secrets, and what all this takes."""
    from trimtab.emulation.modal import control

    project = find_project(catalogue)
    plane = control.status(_state_dir(project))
    console = Console(as_json=as_json)
    if plane is None:
        _tell_at_rest(console, _state_dir(project))
        return
    record = {**plane.ask("status"), "holds": plane.ask("holdings")}

    def text() -> None:
        console.line(f"embedded Modal  {plane.server_url} (process {plane.pid}, runner {plane.runner})")
        rows = [
            (
                app["name"],
                app["state"],
                ", ".join(function["name"] for function in app["functions"]),
                str(sum(container["ended_at"] is None for container in app["containers"])),
                app["id"],
            )
            for app in record["apps"]
        ]
        console.table("Apps", ("app", "state", "functions", "containers", "id"), rows)
        _tell_holdings(console, record["holds"])

    console.result({"running": True, **_where(plane), **record}, text=text)


@modal.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def run(*, words: tuple[str, ...]) -> None:
    """Run `modal run WORDS...` on the embedded Modal, which is started when need be and kept.

    The words are modal's own; without any, modal says which there are. Where one of them is a flag of deploy.sh
    (--train, --local, ...), put `--` before them.

    \b
    Examples:
      trimtab modal run app.py
      trimtab modal run --detach app.py::train --epochs 3
      trimtab modal run app.py::train --help
    """
    from trimtab.emulation.modal import control

    plane = _ensure_running(find_project())
    argv = (sys.executable, "-m", "modal", "run", *(words or ("--help",)))
    hint = f"`trimtab modal status` shows what ran; {plane.state_dir / 'plane.log'} is the plane's own log"
    try:
        run_attached(Command(argv=argv, env=plane.environment(), hint=hint))
    except ProgramError as error:
        if control.status(plane.state_dir) is None:  # what the client says of a plane that is gone is no help
            error.why = "\n".join(("the embedded Modal ended meanwhile", control.last_words(plane.state_dir))).strip()
            error.remedy = "run it again; or `trimtab modal up`: what was called and has no result yet runs again"
        raise


def _tell_at_rest(console: Console, state_dir: Path) -> None:
    """Say that no plane runs, and what the last one left: its last words, and what a killed one still has running."""
    from trimtab.emulation.modal import control

    document: dict[str, Any] = {"running": False}
    lines = ["the embedded Modal does not run"]
    words, left = control.last_words(state_dir), control.left_running(state_dir)
    if words:
        document["last_words"] = words
        lines.append(f"the last one said: {words}")
    if left:
        document["left_running"] = left
        lines.append(f"it was killed, and left {left} attempt(s) running: `trimtab modal up` or `down` ends them")
    console.result(document, text=lambda: console.line("\n".join(lines)))


def _tell_holdings(console: Console, holds: Mapping[str, Any]) -> None:
    rows = [(title, format_size(holds["bytes"][kind])) for kind, title in _KINDS.items()]
    rows += [(f"  {volume['name'] or volume['id']}", format_size(volume["bytes"])) for volume in holds["volumes"]]
    console.table("Disk", ("what", "size"), rows, right=1)
    prunable = holds["prunable"]["bytes"]
    console.line(f"nothing needs {format_size(prunable)} of it: `trimtab modal prune`" if prunable else "all is needed")


@modal.command()
@click.option(
    "--older",
    "older_s",
    type=Duration(),
    default="7d",
    show_default=True,
    metavar="TIME",
    help="Only what was not used for so long; 0s: all that nothing needs.",
)
@CATALOGUE
@DRY_RUN
@JSON
def prune(*, catalogue: Path | None, dry_run: bool, as_json: bool, older_s: float) -> None:
    """Remove what no deployment, no running app and no remembered call needs. Volumes and named secrets stay, always.

    Results and logs, apps that ended, code that was sent, big arguments and results, and images in the engine. A plane
    does this by itself once a day with what is older than 7 days, but for images: those may be dear to build again.

    \b
    Examples:
      trimtab modal prune --dry-run       what would go, and what it takes
      trimtab modal prune --older 1d
      trimtab modal prune --older 0s      all but what is deployed, runs, or was sent in the last ten minutes
    """
    from trimtab.emulation.modal import control

    project = find_project(catalogue)
    document = control.prune(
        _state_dir(project), base_image=project.catalogue.base_image, older_s=older_s, dry_run=dry_run
    )
    console = Console(as_json=as_json)

    def text() -> None:
        counts = (
            f"{document['calls']} calls with their results",
            f"{document['lines']} lines of output",
            f"{document['definitions']} definitions",
            f"{document['files']} files",
            f"{len(document['images'])} images",
        )
        for image in document["images"]:
            console.line(f"{image['name']}  {format_size(image['bytes'])}")
        verb = "would remove" if dry_run else "removed"
        console.line(f"{verb} {', '.join(counts)}: {format_size(document['bytes'])}")

    console.result({"dry_run": dry_run, **document}, text=text)


@modal.command()
@click.argument("target")
@CATALOGUE
@JSON
def interrupt(*, catalogue: Path | None, as_json: bool, target: str) -> None:
    """Preempt containers, as Modal may at any time: SIGINT, 30 s of grace, kill, and the same input again.

    TARGET is a container (ta-...), an app, or a function (APP.FUNCTION).
    """
    plane = _running(find_project(catalogue))
    interrupted = plane.ask("interrupt", {"target": target})
    if not interrupted:
        raise UsageError(
            f"nothing of {target} is being run",
            why="only a container that works on an input can be interrupted",
            remedy="`trimtab modal status` lists apps and functions; start a call first",
        )
    console = Console(as_json=as_json)
    console.result({"interrupted": interrupted}, text=lambda: console.line("interrupted " + ", ".join(interrupted)))


@modal.command()
@click.argument("app")
@click.argument("function")
@CATALOGUE
@JSON
def trigger(*, catalogue: Path | None, as_json: bool, app: str, function: str) -> None:
    """Call a deployed function without arguments, as its schedule would; print the call's id."""
    plane = _running(find_project(catalogue))
    answer = plane.ask("trigger", {"app": app, "function": function})
    console = Console(as_json=as_json)
    console.result(answer, text=lambda: console.line(answer["call_id"]))


_SETTINGS: Final = {"time_scale": "time_scale", "grace": "grace_s", "max_containers": "max_containers"}


def _require_same(project: Project, asked: Mapping[str, Any]) -> None:
    """Refuse options that were given on the command line and that the plane which runs was not started with."""
    from trimtab.emulation.modal import control
    from trimtab.emulation.modal.settings import PlaneSettings

    plane = control.status(_state_dir(project))
    if plane is None:
        return
    settings = PlaneSettings.read(plane.state_dir / "settings.json")
    runs = {"runner": plane.runner, **{name: getattr(settings, field) for name, field in _SETTINGS.items()}}
    context = click.get_current_context()
    given = [name for name in asked if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    other = [name for name in given if asked[name] not in {runs[name], "auto"}]
    if other:
        raise UsageError(
            "the embedded Modal runs already, otherwise",
            why=", ".join(f"--{name.replace('_', '-')} is {runs[name]}, and not {asked[name]}" for name in other),
            remedy="run `trimtab modal down` first, which ends what it runs",
        )


def _where(plane: RunningPlane) -> dict[str, Any]:
    return {"server_url": plane.server_url, "pid": plane.pid, "runner": plane.runner}


def _state_dir(project: Project) -> Path:
    return project.state / "modal"


def _running(project: Project) -> RunningPlane:
    from trimtab.emulation.modal import control

    plane = control.status(_state_dir(project))
    if plane is None:
        raise UsageError(
            "the embedded Modal does not run",
            why=f"nothing holds {_state_dir(project) / 'plane.lock'}",
            remedy="run `trimtab modal up`, or `trimtab modal run app.py`",
        )
    return plane


def _ensure_running(
    project: Project,
    *,
    runner: str = "auto",
    time_scale: float = 1.0,
    grace: float = 30.0,
    max_containers: int | None = None,
) -> RunningPlane:
    from trimtab.emulation.modal import control
    from trimtab.emulation.modal.settings import PlaneSettings

    catalogue = project.catalogue
    more = {} if max_containers is None else {"max_containers": max_containers}
    settings = PlaneSettings(
        workspace=catalogue.modal.workspace,
        environment=catalogue.modal.environment,
        runner=runner,
        base_image=catalogue.base_image,
        aws_state_dir=str(project.state / "aws"),
        time_scale=time_scale,
        grace_s=grace,
        **more,
    )
    return control.ensure_running(_state_dir(project), settings)
