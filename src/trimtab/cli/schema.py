"""`trimtab schema`: the JSON Schema that editors check trimtab.yaml with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from trimtab.errors import DriftError

_FILE: Final = Path("docs/trimtab.schema.json")


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 5 when the file is not current.")
@click.option("--out", type=click.Path(path_type=Path), help=f"Default: {_FILE} beside the catalogue.")
def schema(*, check: bool, out: Path | None) -> None:
    """Write the JSON Schema of trimtab.yaml, or check that it is current."""
    from trimtab.catalogue.schema import schema_text
    from trimtab.project import find_project

    path = out or find_project().root / _FILE
    wanted = schema_text()
    found = path.read_text() if path.is_file() else None
    if found == wanted:
        click.echo(f"{path} is current")
    elif check:
        raise DriftError(
            f"{path} is not what the catalogue's model says",
            why="the model changed, or the file was edited by hand",
            remedy="run `trimtab schema` and commit the file",
        )
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted)
        click.echo(f"wrote {path}")
