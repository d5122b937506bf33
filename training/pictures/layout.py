"""A data set's files laid out below a new directory, whole or not at all. Shared by the programs that make data."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from trimtab.errors import UsageError
from trimtab.storage.durable import make_directory, raise_write_error, sole_writer, sync_directory

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
    make_directory(directory.parent)
    temporary = directory.with_name(f".{directory.name}.part")
    with sole_writer(directory.parent):
        try:
            shutil.rmtree(temporary, ignore_errors=True)  # what a killed one left; no other writes here now
            for path, content in files.items():
                (temporary / path).parent.mkdir(parents=True, exist_ok=True)
                (temporary / path).write_bytes(content)
            temporary.rename(directory)
            sync_directory(directory.parent)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise_write_error(error, f"{directory} was not written")
    return True
