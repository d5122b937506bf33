"""`trimtab report`: where the page of the last run lies."""

from __future__ import annotations

from pathlib import Path

import click

from trimtab.cli.options import CATALOGUE, JSON
from trimtab.console import Console
from trimtab.errors import UsageError
from trimtab.project import find_project


@click.command()
@CATALOGUE
@JSON
def report(*, catalogue: Path | None, as_json: bool) -> None:
    """Show where the page of the last run lies; open it with any browser."""
    project = find_project(catalogue)
    page = project.state / "report" / "index.html"
    if not page.is_file():
        raise UsageError("there is no report yet", why=f"{page} does not exist", remedy="run `trimtab local` first")
    console = Console(as_json=as_json)
    console.result({"report": str(page)}, text=lambda: console.line(str(page)))
