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

    class PipeMindingConsole(RichConsole):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 - called where it was caught: the edge ends the run, and not rich with exit code 1

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PLAIN_WIDTH
    # A name is printed as it is: `[v2]` is no markup in it, and the service in `image:camera:cpu` no emoji.
    return PipeMindingConsole(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


class Console:
    """Where a command talks to a person, or to a script."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def say(self, text: str, *, style: str | None = None) -> None:
        """Print one line of progress."""
        _rich(stderr=True).print(text, style=style, soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show that a step runs; yield what shows its latest line. On a terminal that line is overwritten."""
        console = _rich(stderr=True)
        if not console.is_terminal:
            console.print(f"-> {title}", soft_wrap=True)
            started = time.monotonic()
            yield lambda line: console.print(f"   {line}", soft_wrap=True)
            console.print(f"   ({format_duration(time.monotonic() - started)})")
            return
        from rich.text import Text

        with console.status(Text(title)) as status:
            yield lambda line: status.update(
                Text.assemble(title, "  ", (line, "dim"), no_wrap=True, overflow="ellipsis")
            )

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

    def result(self, data: Mapping[str, Any], *, text: Callable[[], None], failure: TrimtabError | None = None) -> None:
        """Print the result: as one JSON document when that was asked for, else by calling `text`.

        Raises `failure`, where the result is one; the document then holds it as well.
        """
        if self.as_json:
            document = dict(data) if failure is None else {**data, "error": _as_data(failure)}
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
        else:
            text()
        if failure is not None:
            failure.is_in_result = True
            raise failure

    def line(self, text: str) -> None:
        """Print one line of a result."""
        _rich(stderr=False).print(text, soft_wrap=True)

    def failure(self, error: TrimtabError) -> None:
        """Say what failed, why, and what to do next."""
        if self.as_json and not error.is_in_result:
            sys.stdout.write(json.dumps({"error": _as_data(error)}, indent=2) + "\n")
        console = _rich(stderr=True)
        console.print(f"error: {error.what}", style="bold red", soft_wrap=True)
        console.print(f"  why:  {error.why}", soft_wrap=True)
        console.print(f"  next: {error.remedy}", style="bold", soft_wrap=True)


def _as_data(error: TrimtabError) -> dict[str, Any]:
    return {"what": error.what, "why": error.why, "next": error.remedy, "exit": error.exit_code}
