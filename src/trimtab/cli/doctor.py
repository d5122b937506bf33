"""`trimtab doctor`: what is missing on this machine, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import click

from trimtab.cli.options import CATALOGUE, JSON
from trimtab.console import Console
from trimtab.disk.meter import free_bytes
from trimtab.errors import BudgetError, ToolMissingError, TrimtabError
from trimtab.project import Project, find_project
from trimtab.units import format_size

_ROOM: Final = "room in"


@click.command()
@CATALOGUE
@JSON
def doctor(*, catalogue: Path | None, as_json: bool) -> None:
    """Look for what a run needs here.

    Exit 3 when something is missing that set-up cannot install by itself, 6 when there is too little room.
    """
    project = find_project(catalogue)
    findings = _findings(project)
    missing = [what for what, _, remedy, ok in findings if not ok and not remedy.startswith("nothing")]
    console = Console(as_json=as_json)
    columns = ("what", "found", "remedy")
    console.result(
        {"findings": [dict(zip((*columns, "ok"), finding, strict=True)) for finding in findings]},
        text=lambda: console.table(
            "This machine", columns, [(what, found, "" if ok else remedy) for what, found, remedy, ok in findings]
        ),
        failure=_failure(missing),
    )


def _failure(missing: list[str]) -> TrimtabError | None:
    if not missing:
        return None
    kind = BudgetError if all(what.startswith(_ROOM) for what in missing) else ToolMissingError
    return kind(f"missing: {', '.join(missing)}", why="a run needs it", remedy="follow the remedies above")


def _findings(project: Project) -> list[tuple[str, str, str, bool]]:
    """Return (what, what was found, remedy, whether it is fine) for each need."""
    from trimtab.images.engine import connect_or_none, data_root

    can_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
    by_itself = "nothing to do: `trimtab local` installs it"
    client = connect_or_none()
    engine = "no engine answers" if client is None else f"Docker {client.version()['Version']}"
    npm = shutil.which("npm")
    need = project.catalogue.budgets.disk
    rows = [
        ("Python 3.11 or newer", sys.version.split()[0], "install it", sys.version_info >= (3, 11)),
        ("Docker engine", engine, by_itself if can_install else "install Docker and start it", client is not None),
        ("npm", npm or "not found", by_itself if can_install else "install Node.js with npm", npm is not None),
    ]
    for folder in dict.fromkeys((project.state, data_root(client))):
        free = free_bytes(folder)
        rows.append(
            (f"{_ROOM} {_existing(folder)}", format_size(free), f"free {format_size(need - free)}", free >= need)
        )
    return rows


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)
