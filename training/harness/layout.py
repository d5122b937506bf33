"""A data set laid out below a new directory, whole or not at all: the writing, and the command line around it.

Shared by the programs that make data.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import TrimtabError, UsageError
from trimtab.storage.durable import new_directory

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Sequence


def lay_out(directory: Path, files: dict[str, bytes]) -> bool:
    """Write files below a new directory, whole or not at all; return whether anything was written.

    Raises UsageError when something else is there, BudgetError when the disk is full.
    """
    directory = directory.absolute()
    if directory.exists():
        there = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
        if there == set(files) and all((directory / path).read_bytes() == content for path, content in files.items()):
            return False
        raise UsageError(
            f"{directory} is there, but it is not this data set",
            why=f"{len(there ^ set(files))} of its files are missing or more, or some differ",
            remedy="give another --out, or move it away; nothing there was touched",
        )
    with new_directory(directory) as made:
        for path, content in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_bytes(content)
    return True


def run_layout(
    parser: ArgumentParser, arguments: Sequence[str] | None, lay: Callable[[Namespace], tuple[str, bool]]
) -> int:
    """Run the command line of a program that lays data out, and return its exit code: 0 done, 130 interrupted.

    `lay` gets the parser's options and `out`; it returns what the data is, for a person, and whether it was written.
    """
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to lay the data out")
    options = parser.parse_args(arguments)
    try:
        what, written = lay(options)
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was written\n")
        return 130
    sys.stderr.write(f"{what} {'written to' if written else 'were already in'} {options.out}\n")
    return 0
