"""`trimtab disk`: what takes the space, what grows, and freeing what is needed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON
from trimtab.console import Console
from trimtab.errors import BudgetError, UsageError
from trimtab.project import Project, find_project
from trimtab.units import format_duration, format_size, parse_duration, parse_size

if TYPE_CHECKING:
    from docker import DockerClient

    from trimtab.disk.free import Machine
    from trimtab.disk.watch import Tick


def _quantity(parse: Callable[[str], float]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def read(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
        try:
            return None if value is None else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error

    return read


@click.group()
def disk() -> None:
    """What takes the disk, what grows, and freeing just what is needed."""


@disk.command()
@CATALOGUE
@JSON
def report(*, catalogue: Path | None, as_json: bool) -> None:
    """Show a tree of what takes the space: images, containers, volumes, build cache, tools' caches, our state.

    Totals add up to what the file system says. "free takes" is what `trimtab disk free` could take at a desk.

    \b
    Examples:
      trimtab disk report
      trimtab disk report --json    for scripts, in bytes
    """
    from trimtab.disk.meter import nearest_existing
    from trimtab.disk.report import disk_report, tree_lines
    from trimtab.images.engine import connect_or_none, data_root

    project = _project_or_none(catalogue)
    client = connect_or_none()
    console = Console(as_json=as_json)
    if client is None:
        console.say("no Docker engine answers: its images, containers and volumes are in `everything else`")
    disks = disk_report(
        None if client is None else client.df(),
        nearest_existing(data_root(client)),
        project.catalogue.project if project else None,
        project.state if project else None,
    )

    def text() -> None:
        for use in disks:
            for line in tree_lines(use):
                console.line(line)
        takes = sum(use.tree.free_takes_bytes for use in disks)
        console.line(f"`trimtab disk free --need SIZE` could take {format_size(takes)} of this, and stops at the need")

    console.result({"disks": [use.as_data() for use in disks]}, text=text)


@disk.command()
@click.option(
    "--every",
    "period_s",
    default="1s",
    show_default=True,
    callback=_quantity(parse_duration),
    metavar="TIME",
    help="How often it looks.",
)
@click.option(
    "--for", "for_s", callback=_quantity(parse_duration), metavar="TIME", help="End by itself after this long."
)
@CATALOGUE
@JSON
def watch(*, period_s: float, for_s: float | None, catalogue: Path | None, as_json: bool) -> None:
    """Show live what is free, how fast it goes, which folder or layer grows, and when the disk will be full.

    On a terminal one line that is overwritten, elsewhere a line for each look; with --json a document a line.
    Ctrl-C ends it with a summary.

    \b
    Examples:
      trimtab disk watch
      trimtab disk watch --every 5s --for 10min --json > disk.jsonl    beside a build
    """
    from trimtab.disk.folders import tool_caches
    from trimtab.disk.meter import nearest_existing
    from trimtab.disk.watch import Watch
    from trimtab.images.engine import connect_or_none, data_root

    if not 0.05 <= period_s <= 3600:
        raise click.BadParameter("look at most 20 times a second, and at least once an hour", param_hint="--every")
    project = _project_or_none(catalogue)
    client = connect_or_none()
    root = nearest_existing(data_root(client))
    folders = {name: folder for name, folder in tool_caches(os.environ, Path.home()).items() if folder.is_dir()}
    if project is not None and project.state.is_dir():
        folders |= {f".trimtab/{child.name}": child for child in sorted(project.state.iterdir()) if child.is_dir()}
    layers = root / "overlay2"
    watched = Watch(
        root, folders, layers=layers if layers.exists() else None, layer_names=lambda: _layers_of_containers(client)
    )
    last, started_s = None, time.monotonic()
    show = _shower(as_json=as_json)
    try:
        while for_s is None or time.monotonic() - started_s < for_s:
            began_s = time.monotonic()
            last = watched.tick(period_s)
            show(last)
            time.sleep(max(0.0, period_s - (time.monotonic() - began_s)))
    except KeyboardInterrupt:
        pass  # it is how a watch ends
    _summarise(last, watched.gained_bytes, time.monotonic() - started_s, as_json=as_json)


@disk.command()
@click.option(
    "--need",
    "need_bytes",
    default="20GiB",
    show_default=True,
    callback=_quantity(parse_size),
    metavar="SIZE",
    help="What must be free at the end.",
)
@click.option("--keep", multiple=True, metavar="PATH|NAME", help="A path, or a row of the table, that must stay.")
@click.option("--runner", "machine", flag_value="runner", help="A throw-away CI runner, though it is not GitHub's.")
@click.option("--desk", "machine", flag_value="desk", help="Somebody's machine, though it looks like a runner.")
@click.option("--wait", "waits", is_flag=True, help="Return when nothing is removed in the background any more.")
@CATALOGUE
@DRY_RUN
@JSON
def free(
    *,
    need_bytes: int,
    keep: tuple[str, ...],
    machine: Machine | None,
    waits: bool,
    catalogue: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Free disk space until there is enough, and stop; do nothing when there is room. Exit 6 when it cannot be.

    On a GitHub-hosted runner it removes its image's known paths, the most GiB per second first. Elsewhere it takes only
    what Docker and pip can make again (dangling images, build cache, pip's cache), and what we made.

    \b
    Examples:
      trimtab disk free --need 20GiB --dry-run     what would go
      trimtab disk free --need 20GiB --keep dotnet
    """
    from trimtab.disk.free import Freeing, nothing_else_runs
    from trimtab.disk.free import free as carry_out
    from trimtab.disk.meter import nearest_existing
    from trimtab.images.engine import connect_or_none, data_root
    from trimtab.process import ProcessRunner

    project = _project_or_none(catalogue)
    console = Console(as_json=as_json)
    state = project.state if project is not None else Path("/nonexistent")
    with nothing_else_runs(state) as is_idle:
        freeing = Freeing(
            need_bytes=need_bytes,
            at=nearest_existing(data_root(connect_or_none())),
            machine=machine or "detected",
            keep=keep,
            project=project.catalogue.project if project else None,
            own_folder=state / "cache" if is_idle else None,
            is_dry=dry_run,
            waits=waits,
        )
        document = carry_out(freeing, ProcessRunner())
    console.result(document, text=lambda: _print_freed(console, document), failure=_verdict(document))


def _project_or_none(catalogue: Path | None) -> Project | None:
    """Return the project; what a disk holds can be told, and freed, without one."""
    try:
        return find_project(catalogue)
    except UsageError:
        if catalogue is not None:
            raise
        return None


def _layers_of_containers(client: DockerClient | None) -> Mapping[str, str]:
    """Return the folder in overlay2 that each running container writes to, and the container's name."""
    named = {}
    for container in client.containers.list(ignore_removed=True) if client is not None else ():
        upper = ((container.attrs.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
        if upper:
            named[Path(upper).parent.name] = str(container.name)
    return named


def _shower(*, as_json: bool) -> Callable[[Tick], None]:
    from trimtab.disk.watch import tick_line

    def show_data(tick: Tick) -> None:
        sys.stdout.write(json.dumps(tick.as_data()) + "\n")
        sys.stdout.flush()

    def show_over(tick: Tick) -> None:
        width = os.get_terminal_size(sys.stdout.fileno()).columns
        sys.stdout.write(f"\r\x1b[2K{tick_line(tick)[: width - 1]}")
        sys.stdout.flush()

    def show_line(tick: Tick) -> None:
        sys.stdout.write(f"{tick.at_s:8.1f} s  {tick_line(tick)}\n")
        sys.stdout.flush()

    if as_json:
        return show_data
    return show_over if sys.stdout.isatty() else show_line


def _summarise(last: Tick | None, gained_bytes: int, watched_s: float, *, as_json: bool) -> None:
    if last is None:
        return
    if as_json:
        summary = {"watched_s": round(watched_s, 3), "gained_bytes": gained_bytes, **last.as_data()}
        sys.stdout.write(json.dumps({"summary": summary}) + "\n")
        return
    start = "\r\x1b[2K" if sys.stdout.isatty() else ""
    grew = f"{'+' if gained_bytes >= 0 else ''}{format_size(gained_bytes)} in {format_duration(watched_s)}"
    sys.stdout.write(f"{start}{grew}; {format_size(last.free_bytes)} are free\n")
    for grown in sorted(last.grows, key=lambda one: -abs(one.gained_bytes)):
        sys.stdout.write(f"  {format_size(grown.gained_bytes):>12}  {grown.what}\n")


def _print_freed(console: Console, document: Mapping[str, Any]) -> None:
    if document["paths"]:
        rows = [
            (
                row["path"],
                row["outcome"],
                "?" if row["freed_bytes"] is None else format_size(row["freed_bytes"]),
                f"{row['seconds']:.2f} s",
                row["note"],
            )
            for row in document["paths"]
        ]
        console.table("Freed", ("path", "outcome", "freed", "time", "note"), rows)
    need, free_now = format_size(document["need_bytes"]), format_size(document["free_bytes"])
    if document["dry_run"]:
        console.line(f"{free_now} would be free, {need} are needed; nothing was removed")
    elif not document["paths"]:
        console.line(f"{free_now} are free, {need} are needed: nothing was removed")
    else:
        freed = f"freed {format_size(document['freed_bytes'])} in {document['seconds']:.1f} s"
        behind = "; the rest of what was begun is removed in the background" if document["background"] else ""
        console.line(f"{freed}: {free_now} are free, {need} are needed{behind}")


def _verdict(document: Mapping[str, Any]) -> BudgetError | None:
    is_known = all(row["freed_bytes"] is not None for row in document["paths"])
    if document["met"] or not is_known:
        return None
    need, free_now = format_size(document["need_bytes"]), format_size(document["free_bytes"])
    return BudgetError(
        f"not enough room: {free_now} {'would be' if document['dry_run'] else 'are'} free, {need} are needed",
        why=f"nothing else here may go than {format_size(document['freed_bytes'])}",
        remedy=document["left_to_try"],
    )
