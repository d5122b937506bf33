"""The console: results on standard output, everything else on standard error.

Colour and live lines appear only on a terminal (NO_COLOR is honoured); with `--json` the result is one JSON document.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from trimtab.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from trimtab.errors import TrimtabError

_PLAIN_WIDTH: Final = 140


def _rich(*, stderr: bool) -> RichConsole:
    from rich.console import Console as RichConsole

    stream = sys.stderr if stderr else sys.stdout
    return RichConsole(stderr=stderr, width=None if stream.isatty() else _PLAIN_WIDTH, highlight=False)


class Console:
    """Where a command talks to a person, or to a script."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def say(self, text: str, *, style: str | None = None) -> None:
        """Print one line of progress."""
        _rich(stderr=True).print(text, style=style, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show that a step runs; yield what shows its latest line. On a terminal that line is overwritten."""
        console = _rich(stderr=True)
        if not console.is_terminal:
            console.print(f"-> {title}", markup=False, soft_wrap=True)
            started = time.monotonic()
            yield lambda line: console.print(f"   {line}", markup=False, soft_wrap=True)
            console.print(f"   ({format_duration(time.monotonic() - started)})", markup=False)
            return
        with console.status(title) as status:
            from rich.markup import escape

            yield lambda line: status.update(f"{escape(title)}  [dim]{escape(line[: console.width - 40])}[/dim]")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 0) -> None:
        """Print a table as a result; the columns from the `right`-th on (0: none) are numbers, set to the right."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if 0 < right <= index else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        _rich(stderr=False).print(table)

    def result(self, data: Mapping[str, Any], *, text: Callable[[], None]) -> None:
        """Print the result: as one JSON document when that was asked for, else by calling `text`."""
        if self.as_json:
            sys.stdout.write(json.dumps(data, indent=2) + "\n")
        else:
            text()

    def line(self, text: str) -> None:
        """Print one line of a result."""
        _rich(stderr=False).print(text, soft_wrap=True)

    def failure(self, error: TrimtabError) -> None:
        """Say what failed, why, and what to do next."""
        if self.as_json:
            document = {"error": {"what": error.what, "why": error.why, "next": error.remedy, "exit": error.exit_code}}
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        console = _rich(stderr=True)
        console.print(f"error: {error.what}", style="bold red", markup=False, soft_wrap=True)
        console.print(f"  why:  {error.why}", markup=False, soft_wrap=True)
        console.print(f"  next: {error.remedy}", style="bold", markup=False, soft_wrap=True)
