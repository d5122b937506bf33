"""Where there is no rename: objects below a prefix, each whole or not there. A mounted bucket is one such place.

The training payload imports this module; what speaks to S3 itself (`prefixes_s3`) is handed to it from outside.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from trimtab.storage.durable import raise_write_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager


class Prefix(Protocol):
    """Objects by name, relative to the prefix and with `/` between segments. What fails is said as a TrimtabError."""

    def sizes(self, below: str) -> Mapping[str, int]:
        """Return the size in bytes of each object whose name begins with `below`, which ends in `/`."""
        ...

    def reading(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open an object to read it from its beginning. Raises FileNotFoundError when it is not there."""
        ...

    def put(self, name: str, content: BinaryIO, *, sha256: str | None) -> None:
        """Write an object whole, in place of the one before; `sha256` is told along where the place keeps such."""
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects, in any order. One that is not there is no error."""
        ...


@dataclass(frozen=True, slots=True)
class MountedPrefix:
    """A bucket's prefix that is mounted as a directory, with the manners of Mountpoint for Amazon S3.

    Files are written once, from the beginning to the end. One whose writer was killed may stay there as a half, so
    nothing counts before a marker, written after it, says that it does.
    Source: https://github.com/awslabs/mountpoint-s3/blob/main/doc/SEMANTICS.md
    """

    directory: Path

    def __str__(self) -> str:
        return f"{self.directory}/"

    def sizes(self, below: str) -> Mapping[str, int]:
        """Return the size in bytes of each file below a folder."""
        sizes: dict[str, int] = {}

        def refused(error: OSError) -> None:
            # What vanishes meanwhile is left out: a folder of a bucket is gone with the last object in it.
            if not isinstance(error, FileNotFoundError):
                raise_write_error(error, f"{error.filename} was not listed")

        for folder, _, names in os.walk(self.directory / below, onerror=refused):
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError), self._explained(f"{path} was not looked at"):
                    sizes[path.relative_to(self.directory).as_posix()] = path.stat().st_size
        return sizes

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """Open a file to read it from its beginning. Raises FileNotFoundError when it is not there."""
        path = self.directory / name
        with self._explained(f"{path} was not read"), path.open("rb") as stream:
            yield stream

    def put(self, name: str, content: BinaryIO, *, sha256: str | None) -> None:  # noqa: ARG002  # a file keeps no checksum
        """Write a file. Raises BudgetError when the disk behind it is full, ProgramError when it is refused."""
        path = self.directory / name
        with self._explained(f"{path} was not written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:  # the mount uploads when it is closed, and says then what is wrong
                shutil.copyfileobj(content, stream, 1024 * 1024)

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, and the folders that are empty then."""
        for name in names:
            path = self.directory / name
            with self._explained(f"{path} was not removed"):
                path.unlink(missing_ok=True)
            with suppress(OSError):  # in a bucket there are no folders: it is gone already, or not empty
                path.parent.rmdir()

    @staticmethod
    @contextmanager
    def _explained(what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise_write_error(error, what)
