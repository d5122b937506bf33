"""`trimtab status` and `trimtab down`: what runs here, and its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trimtab.cli.options import CATALOGUE, JSON
from trimtab.console import Console
from trimtab.project import Project, find_project


@click.command()
@CATALOGUE
@JSON
def status(*, catalogue: Path | None, as_json: bool) -> None:
    """Show what runs here and where it answers: the engine, the embedded AWS, the services, the newest run."""
    project = find_project(catalogue)
    rows = _status(project)
    console = Console(as_json=as_json)
    columns = ("what", "state", "where", "release")
    console.result(
        {"status": [dict(zip(columns, row, strict=True)) for row in rows]},
        text=lambda: console.table("Here and now", columns, rows),
    )


@click.command()
@CATALOGUE
@JSON
def down(*, catalogue: Path | None, as_json: bool) -> None:
    """Stop the services, the embedded Modal and the embedded AWS that were started here.

    Images, caches, checkpoints and the ledger stay, so that `trimtab local` soon stands again; the embedded AWS keeps
    its objects in memory only, so those are published anew then. The Docker engine is left running.
    """
    from trimtab.emulation import aws
    from trimtab.emulation.modal import control
    from trimtab.images.container import stop_all
    from trimtab.images.engine import connect_or_none

    project = find_project(catalogue)
    client = connect_or_none()
    stopped = [*stop_all(client, project.catalogue.project)] if client is not None else []
    if control.stop(project.state / "modal"):
        stopped.append("the embedded Modal")
    if aws.stop(project.state / "aws"):
        stopped.append("the embedded AWS")
    console = Console(as_json=as_json)
    text = f"stopped: {', '.join(stopped)}" if stopped else "nothing ran"
    console.result({"stopped": stopped}, text=lambda: console.line(f"{text}; kept: images and {project.state}"))


def _status(project: Project) -> list[tuple[str, str, str, str]]:
    from trimtab.emulation import aws
    from trimtab.emulation.modal import control
    from trimtab.images.engine import connect_or_none
    from trimtab.storage.runs import list_runs

    client = connect_or_none()
    engine = "not running" if client is None else f"running, {client.version()['Version']}"
    rows = [("Docker engine", engine, "-" if client is None else str(client.api.base_url), "-")]
    running = aws.status(project.state / "aws")
    state, endpoint = ("not running", "-") if running is None else ("running", running.endpoint_url)
    rows.append(("embedded AWS", state, endpoint, "-"))
    plane = control.status(project.state / "modal")
    rows.append(("embedded Modal", *(("not running", "-") if plane is None else ("running", plane.server_url)), "-"))
    rows += [_service_row(project, client, name) for name in project.catalogue.services]
    for record in list_runs(project.state / "results").records[:1]:
        rows.append((f"newest run of {record.job}", str(record.outcome), record.run_directory, "-"))
    page = project.state / "report" / "index.html"
    rows.append(("report", "written" if page.is_file() else "none yet", str(page) if page.is_file() else "-", "-"))
    return rows


def _service_row(project: Project, client: Any, name: str) -> tuple[str, str, str, str]:
    from trimtab.errors import HealthError
    from trimtab.images.front import front_or_none
    from trimtab.images.golden import HttpDoor, wait_until_healthy

    front = client and front_or_none(client, project.catalogue.project, name)
    if not front:
        return (f"service {name}", "not running", "-", "-")
    live = front.record_at_once().live_release
    door = HttpDoor(f"http://127.0.0.1:{front.port}")
    release = "none" if live is None else f"{live.number} ({live.digest.removeprefix('sha256:')[:12]})"
    try:
        wait_until_healthy(door, within_s=1, is_running=lambda: True)
    except HealthError as error:
        return (f"service {name}", f"NOT healthy: {error.why.splitlines()[0][:80]}", "-", release)
    return (f"service {name}", "healthy", door.address, release)
