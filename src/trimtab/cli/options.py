"""The options that commands share."""

from __future__ import annotations

from pathlib import Path

import click

CATALOGUE = click.option(
    "--catalogue",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The catalogue to use; default: the nearest trimtab.yaml upwards.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Show what would be done, and do none of it.")
STACK = click.option(
    "--stack", type=click.Choice(["dev", "prod"]), default="dev", show_default=True, help="The environment."
)
