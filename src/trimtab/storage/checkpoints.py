"""Checkpoints on a POSIX directory: whole or not there, verified before they are trusted, removed only by a policy.

A checkpoint is a directory `step-000000120` with its files and, written last in it, a manifest of their checksums.
It is made under a temporary name, synced, and published by one rename. Whatever a killed writer left is ignored by
readers and removed at the next save. Touches one run's directory only; a hook commits it where the file system needs
that (a Modal Volume). The training payload imports this module: no cloud client, no torch. Where there is no rename,
`checkpoints_bucket` keeps the same promises.

    RESULTS/checkpoints/JOB/YYYY-MM-DD/RUN_ID/
        CHECKPOINTS.json            whose directory this is
        step-000000120/             MANIFEST.json, the files, PINNED when it must stay
        step-000000100.broken/      set aside: its checksums were wrong
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from trimtab.errors import ProgramError, UsageError
from trimtab.storage.checkpoint_manifests import (
    MANIFEST,
    MARKER,
    PUBLISHED,
    Checkpoint,
    DamageError,
    HashingSink,
    UnsoundError,
    check_marker,
    decode_manifest,
    encode_manifest,
    marker_of,
    name_of,
    pour,
    require_sound,
    retention_of,
)
from trimtab.storage.durable import (
    filled_directory,
    make_directory,
    sole_writer,
    sync_directory,
    write_errors,
    write_whole,
)
from trimtab.storage.published import Source, pin, published, read_checkpoint, unpin, unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from trimtab.storage.manifests import FileEntry
    from trimtab.storage.retention import Retention

__all__ = [
    "MANIFEST",
    "Checkpoint",
    "CheckpointStore",
    "Source",
    "open_store",
    "pin",
    "published",
    "retention_of",
    "unpin",
]

_DEBRIS: Final = re.compile(r"\.(?:saving|removing)-step-\d{9,}-[0-9a-f]{16}|\.CHECKPOINTS\.json\.part")


@contextmanager
def open_store(
    directory: Path,
    *,
    run_id: str,
    retention: Retention,
    commit: Callable[[], None] | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[CheckpointStore]:
    """Open a run's directory as its one writer, made and marked when it is new.

    `commit` is called after each publication and its failure is an error; `notice` is told what was set aside.
    Raises UsageError when the directory is someone else's or another process writes it.
    """
    make_directory(directory)
    with sole_writer(directory):
        _claim(directory, run_id)
        yield CheckpointStore(directory=directory, retention=retention, commit=commit, notice=notice)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointStore:
    """One run's checkpoints and their one writer. Made by `open_store`."""

    directory: Path
    retention: Retention
    commit: Callable[[], None] | None = None
    notice: Callable[[str], None] = field(default=lambda _: None)

    def save(
        self,
        step: int,
        files: Mapping[str, Callable[[BinaryIO], object]],
        *,
        metrics: Mapping[str, float] | None = None,
    ) -> Checkpoint:
        """Write, publish, commit and verify one checkpoint, then remove what the policy lets go.

        `files` maps each file's name to what writes it into a stream. Metrics that are not numbers are left out. On any
        failure the checkpoints before stay as they are. Raises BudgetError when the disk is full, ProgramError when
        writing or the commit fails, UsageError when the step is already there.
        """

        def fill(directory: Path) -> bytes:
            entries = [_write_file(directory, name, write) for name, write in files.items()]
            return encode_manifest(step, datetime.now(UTC), metrics, entries, self.retention)

        checkpoint = self._publish(step, fill)
        self.prune()
        return checkpoint

    def take(self, checkpoint: Checkpoint, source: Source) -> Checkpoint:
        """Copy a checkpoint of another store, to the byte and with its pin; nothing is removed for it.

        Raises as `save` does, and DamageError when what came is not what its manifest says.
        """

        def fill(directory: Path) -> bytes:
            for entry in checkpoint.files:
                with source.open_file(checkpoint, entry.path) as stream:
                    came = _write_file(directory, entry.path, partial(pour, stream))
                if came != entry:
                    raise DamageError(
                        f"{checkpoint.path} did not arrive as it was saved",
                        why=f"{entry.path} has {came.size_bytes} bytes with the SHA-256 {came.sha256[:12]}",
                        remedy="give the same command again; when it stays so, take the checkpoint before it",
                    )
            return source.manifest_of(checkpoint)

        taken = self._publish(checkpoint.step, fill)
        if checkpoint.pinned:
            pin(taken)
        return taken

    def _publish(self, step: int, fill: Callable[[Path], bytes]) -> Checkpoint:
        """Make a directory, let it be filled, and publish it with the manifest that comes of it."""
        self._remove_debris()
        name = name_of(step)
        final = self.directory / name
        if final.exists():
            raise UsageError(
                f"{final} is already there",
                why="a checkpoint is written once",
                remedy="go on from it, or give another step",
            )
        temporary = self.directory / f".saving-{name}-{secrets.token_hex(8)}"
        refused = f"{final} was not written; the checkpoints before it are untouched"
        with filled_directory(temporary, final, refused) as directory:
            manifest = fill(directory)
            _write_file(directory, MANIFEST, lambda stream: stream.write(manifest))
        self.commit_written(final)
        try:
            return require_sound(decode_manifest(manifest, final, pinned=False), self._damage, final)
        except UnsoundError as error:
            self._set_aside(final, error.why)
            raise

    def prune(self) -> tuple[Checkpoint, ...]:
        """Remove what the policy lets go; return it, oldest first. What stays was verified when it was saved."""
        removable = self.retention.removable(self.checkpoints())
        self._remove(removable)
        return removable

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return the complete checkpoints, oldest first, their checksums unread."""
        return published(self.directory)

    def newest_complete(self) -> Checkpoint | None:
        """Return the newest checkpoint whose checksums are right; set aside as `*.broken` the newer ones.

        A read error of the system says nothing about a checkpoint: it is raised (ProgramError), nothing is renamed.
        """
        for path in sorted(self.directory.iterdir(), key=lambda item: (len(item.name), item.name), reverse=True):
            if not PUBLISHED.fullmatch(path.name):
                continue
            try:
                return require_sound(read_checkpoint(path), self._damage, path)
            except UnsoundError as error:
                self._set_aside(path, error.why)
        return None

    def open_file(self, checkpoint: Checkpoint, name: str) -> AbstractContextManager[BinaryIO]:
        """Open one of a checkpoint's files. Raises FileNotFoundError."""
        return (checkpoint.path / name).open("rb")

    def manifest_of(self, checkpoint: Checkpoint) -> bytes:
        """Return a checkpoint's manifest as it stands there. Raises FileNotFoundError."""
        return (checkpoint.path / MANIFEST).read_bytes()

    def commit_written(self, path: Path) -> None:
        """Call the commit hook after something was written whole. Raises ProgramError when that fails."""
        if self.commit is None:
            return
        try:
            self.commit()
        except Exception as error:
            raise ProgramError(
                f"{path} is written here, but its commit failed",
                why=f"{type(error).__name__}: {error}",
                remedy="mend the cause, then give the same command again: it goes on from there; nothing was removed",
            ) from error

    def _damage(self, checkpoint: Checkpoint) -> str | None:
        try:
            return checkpoint.damage()
        except OSError as error:
            raise unreadable(checkpoint.path, error) from error

    def _set_aside(self, path: Path, damage: str) -> None:
        aside = path.with_name(f"{path.name}.broken")
        if aside.exists():
            aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.broken")
        with write_errors(f"{path}, which is damaged ({damage}), was not set aside"):
            path.rename(aside)
            sync_directory(self.directory)
        self.notice(f"set aside {aside}: {damage}")

    def _remove(self, checkpoints: Sequence[Checkpoint]) -> None:
        for checkpoint in checkpoints:
            # Renamed first: a reader sees a whole checkpoint or none, and a killed removal is debris, not a half.
            doomed = self.directory / f".removing-{checkpoint.path.name}-{secrets.token_hex(8)}"
            with write_errors(f"{checkpoint.path}, which nothing keeps, was not removed"):
                checkpoint.path.rename(doomed)
                shutil.rmtree(doomed)
        if checkpoints:
            sync_directory(self.directory)

    def _remove_debris(self) -> None:
        with write_errors(f"what a killed save left in {self.directory} was not removed"):
            for path in self.directory.iterdir():
                if _DEBRIS.fullmatch(path.name) and not path.is_symlink():
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink()


def _claim(directory: Path, run_id: str) -> None:
    """Mark an empty directory as this run's, or check that its mark says so."""
    marker = directory / MARKER
    if not marker.exists():
        with write_errors(f"{directory} was not listed; nothing was changed"):
            there = sorted(path.name for path in directory.iterdir())
        if foreign := [name for name in there if not _DEBRIS.fullmatch(name)]:
            raise UsageError(
                f"{directory} is not a directory of checkpoints",
                why=f"it has no {MARKER}, but it has {', '.join(foreign[:3])}",
                remedy="give another results directory or run id; nothing there was touched",
            )
        write_whole(marker, marker_of(run_id))
    try:
        found = marker.read_bytes()
    except OSError as error:
        raise unreadable(marker, error) from error
    check_marker(found, run_id, directory)


def _write_file(directory: Path, name: str, write: Callable[[BinaryIO], object]) -> FileEntry:
    with (directory / name).open("xb") as stream:
        hashing = HashingSink(stream)
        write(hashing)  # type: ignore[arg-type]  # write and flush are what serialisers (torch.save, json, numpy) use
        stream.flush()
        os.fsync(stream.fileno())
    return hashing.entry(name)
