"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trimtab.units import parse_duration


class Duration(click.ParamType[float]):
    """A duration such as `90s`, `10min` or `24h`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds; refuse what is none with the units that there are."""
        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


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
