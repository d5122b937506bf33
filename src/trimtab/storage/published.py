"""Checkpoints on a disk, for any reader: what is there, its pins, and how a copy of one is asked for.

Needs no lock: a reader sees whole checkpoints or none (`checkpoints` writes them). Changes nothing but pins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

from trimtab.errors import ProgramError
from trimtab.storage.checkpoint_manifests import MANIFEST, PIN, PUBLISHED, Checkpoint, decode_manifest
from trimtab.storage.durable import sync_directory, write_whole

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path


class Source(Protocol):
    """Checkpoints that another store can take over."""

    def open_file(self, checkpoint: Checkpoint, name: str) -> AbstractContextManager[BinaryIO]:
        """Open one of a checkpoint's files. Raises FileNotFoundError."""
        ...

    def manifest_of(self, checkpoint: Checkpoint) -> bytes:
        """Return a checkpoint's manifest as it stands there. Raises FileNotFoundError."""
        ...


def published(directory: Path) -> tuple[Checkpoint, ...]:
    """Return a run's complete checkpoints, oldest first, for any reader: checksums are not read, nothing is changed.

    A directory without a readable manifest is not a checkpoint and is left out.
    """
    if not directory.is_dir():
        return ()
    found = (read_checkpoint(path) for path in sorted(directory.iterdir()) if PUBLISHED.fullmatch(path.name))
    return tuple(sorted((item for item in found if item is not None), key=lambda item: item.step))


def pin(checkpoint: Checkpoint) -> None:
    """Keep a checkpoint whatever the policy says, until `unpin`."""
    write_whole(checkpoint.path / PIN, b"")


def unpin(checkpoint: Checkpoint) -> None:
    """Let the policy decide about a checkpoint again."""
    (checkpoint.path / PIN).unlink(missing_ok=True)
    sync_directory(checkpoint.path)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint that a directory's manifest describes, or None when there is no sound manifest."""
    try:
        return decode_manifest((path / MANIFEST).read_bytes(), path, pinned=(path / PIN).exists())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> ProgramError:
    return ProgramError(
        f"{path} could not be read",
        why=error.strerror or str(error),
        remedy="mend the cause, then give the same command again; nothing was changed",
    )
