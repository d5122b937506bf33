"""`trimtab images compose`: plain docker-compose files, rendered from the catalogue."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from trimtab.cli.options import CATALOGUE, JSON
from trimtab.console import Console
from trimtab.errors import DriftError
from trimtab.project import find_project


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write to; default: deploy/compose beside the catalogue.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit 5 when the files are not what the catalogue says.")
@CATALOGUE
@JSON
def compose(*, out: Path | None, check: bool, catalogue: Path | None, as_json: bool) -> None:
    """Write docker-compose.yml and its CPU override, for machines that shall need nothing but Docker.

    Same images, same limits and rights as a release; but no front, so a change of image has a gap there.

    \b
    Examples:
      trimtab images compose            into deploy/compose/
      trimtab images compose --check    for CI
      docker compose --file docker-compose.yml --file docker-compose.cpu.yml up --detach --wait
    """
    from trimtab.images.compose import FOLDER, compose_files
    from trimtab.storage.durable import make_directory, write_whole

    project = find_project(catalogue)
    folder = out or project.root / FOLDER
    files = compose_files(project.catalogue)
    stale = {name: text for name, text in files.items() if _text(folder / name) != text}
    if check and stale:
        changes = "".join(_difference(folder / name, text) for name, text in stale.items())
        again = f"trimtab images compose{f' --out {out}' if out else ''}"
        raise DriftError(
            f"{', '.join(stale)} in {folder} is not what the catalogue says",
            why=f"\n{changes}",
            remedy=f"`{again}` writes it; commit the result",
        )
    for name, text in stale.items():
        make_directory(folder)
        write_whole(folder / name, text.encode())
    console = Console(as_json=as_json)
    console.result(
        {"folder": str(folder), "files": [*files], "written": [*stale]},
        text=lambda: console.line(f"{folder}: {', '.join(stale) + ' written' if stale else 'all as it should be'}"),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _difference(path: Path, text: str) -> str:
    lines = difflib.unified_diff(
        _text(path).splitlines(keepends=True), text.splitlines(keepends=True), str(path), "catalogue", n=1
    )
    return "".join(lines)
