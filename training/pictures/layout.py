"""A data set's files laid out below a new directory, whole or not at all. Shared by the programs that make data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.errors import UsageError
from trimtab.storage.durable import new_directory

if TYPE_CHECKING:
    from pathlib import Path


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
