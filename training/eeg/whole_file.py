"""Files that any number of builders may write at once, each whole or not there. Touches the paths it is given.

`trimtab.storage.durable` gives a path one writer at a time; here each has a part of its own, and the last name wins:
all of them write the same.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from trimtab.storage.durable import make_directory, raise_write_error

_PART: Final = ".part"
_ABANDONED_S: Final = 3600  # a part is written within minutes, or its builder is dead


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Give a stream whose content stands at `target` when the block ends, and nowhere when it raises.

    Raises BudgetError when the disk is full, ProgramError when the system refuses otherwise.
    """
    make_directory(target.parent)
    part = target.with_name(f".{target.name}.{secrets.token_hex(6)}{_PART}")
    try:
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(target)
    except OSError as error:
        raise_write_error(error, f"{target} was not written")
    finally:
        with suppress(OSError):  # it is gone where all went well
            part.unlink()


def is_part_of(name: str, target: str) -> bool:
    """Tell whether a file's name is that of a part of `target`."""
    return name.startswith(f".{target}.") and name.endswith(_PART)


def remove_abandoned(directory: Path) -> int:
    """Remove what killed builders left half written below a directory, once no living one can be at it; count it."""
    removed = 0
    for part in directory.rglob(f".*{_PART}"):
        with suppress(FileNotFoundError):  # another one removed it, or it got its name
            if time.time() - part.stat().st_mtime > _ABANDONED_S:
                part.unlink()
                removed += 1
    return removed
