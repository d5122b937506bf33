"""Checkpoints on a POSIX directory: whole or not there, verified before they are trusted, removed only by a policy.

A checkpoint is a directory `step-000000120` with its files and, written last in it, a manifest of their checksums.
It is made under a temporary name, synced, and published by one rename. Whatever a killed writer left is ignored by
readers and removed at the next save. Touches one run's directory only; a hook commits it where the file system needs
that (a Modal Volume). The training payload imports this module: no cloud client, no torch.

    RESULTS/checkpoints/JOB/YYYY-MM-DD/RUN_ID/
        CHECKPOINTS.json            whose directory this is
        step-000000120/             MANIFEST.json, the files, PINNED when it must stay
        step-000000100.broken/      set aside: its checksums were wrong
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from trimtab.errors import ProgramError, UsageError
from trimtab.storage.durable import make_directory, raise_write_error, sole_writer, sync_directory, write_whole
from trimtab.storage.manifests import FileEntry, parse_entries, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from trimtab.storage.retention import Retention

MANIFEST: Final = "MANIFEST.json"
MARKER: Final = "CHECKPOINTS.json"
PIN: Final = "PINNED"
_FORMAT: Final = "trimtab-checkpoint/2"
_PUBLISHED: Final = re.compile(r"step-\d{9,}")
_DEBRIS: Final = re.compile(r"\.(?:saving|removing)-step-\d{9,}-[0-9a-f]{16}|\.CHECKPOINTS\.json\.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One published checkpoint. `metrics` is empty for one saved in the middle of an epoch: it is nobody's best.

    `policy` holds the fields of the Retention that its writer kept to.
    """

    path: Path
    step: int
    saved_at: datetime
    metrics: Mapping[str, float]
    files: tuple[FileEntry, ...]
    policy: Mapping[str, Any] = field(default_factory=dict)
    pinned: bool = False

    def damage(self) -> str | None:
        """Return what is wrong with the files against their checksums, or None. Reads every byte."""
        for entry in self.files:
            path = self.path / entry.path
            if not path.is_file():
                return f"{entry.path} is missing"
            if path.stat().st_size != entry.size_bytes:
                return f"{entry.path} has {path.stat().st_size} bytes, not {entry.size_bytes}"
            if sha256_of(path) != entry.sha256:
                return f"{entry.path} has another checksum than its manifest says"
        return None


def published(directory: Path) -> tuple[Checkpoint, ...]:
    """Return a run's complete checkpoints, oldest first, for any reader: checksums are not read, nothing is changed.

    A directory without a readable manifest is not a checkpoint and is left out.
    """
    if not directory.is_dir():
        return ()
    found = (_read(path) for path in sorted(directory.iterdir()) if _PUBLISHED.fullmatch(path.name))
    return tuple(sorted((item for item in found if item is not None), key=lambda item: item.step))


def retention_of(checkpoints: Sequence[Checkpoint]) -> Retention:
    """Return the policy that the writer of the newest kept to. Raises UsageError when there is none to tell."""
    from trimtab.storage.retention import Retention

    newest = max(checkpoints, key=lambda item: item.step, default=None)
    try:
        return Retention(**(newest.policy if newest else {}))
    except TypeError as error:
        raise UsageError(
            f"the policy in {newest and newest.path} cannot be read",
            why=str(error),
            remedy="another version of this program wrote it: prune with that one; nothing was removed",
        ) from error


def pin(checkpoint: Checkpoint) -> None:
    """Keep a checkpoint whatever the policy says, until `unpin`."""
    write_whole(checkpoint.path / PIN, b"")


def unpin(checkpoint: Checkpoint) -> None:
    """Let the policy decide about a checkpoint again."""
    (checkpoint.path / PIN).unlink(missing_ok=True)
    sync_directory(checkpoint.path)


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

        `files` maps each file's name to what writes it into a stream. Metrics that are not numbers are left out: JSON
        has no NaN, and they are nobody's best. On any failure the checkpoints before stay as they are. Raises
        BudgetError when the disk is full, ProgramError when writing or the commit fails, UsageError when the step is
        already there.
        """
        self._remove_debris()
        name = f"step-{step:09d}"
        final = self.directory / name
        if final.exists():
            raise UsageError(
                f"{final} is already there",
                why="a checkpoint is written once",
                remedy="go on from it, or give another step",
            )
        temporary = self.directory / f".saving-{name}-{secrets.token_hex(8)}"
        try:
            temporary.mkdir()
            entries = tuple(sorted(_write_file(temporary, file, write) for file, write in files.items()))
            finite = {key: value for key, value in (metrics or {}).items() if math.isfinite(value)}
            saved_at = datetime.now(UTC)
            policy = asdict(self.retention)
            manifest = _manifest(step, saved_at, finite, entries, policy)
            _write_file(temporary, MANIFEST, lambda stream: stream.write(manifest))
            sync_directory(temporary)
            temporary.rename(final)
            sync_directory(self.directory)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise_write_error(error, f"{final} was not written; the checkpoints before it are untouched")
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self.commit_written(final)
        checkpoint = Checkpoint(path=final, step=step, saved_at=saved_at, metrics=finite, files=entries, policy=policy)
        if damage := self._damage(checkpoint):
            self._set_aside(final, damage)
            raise ProgramError(
                f"{final} does not read back as it was written",
                why=damage,
                remedy="look at that disk (`dmesg`); the checkpoints before it are untouched, nothing was removed",
            )
        self.prune()
        return checkpoint

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
            if not _PUBLISHED.fullmatch(path.name):
                continue
            checkpoint = _read(path)
            damage = "its manifest is missing or damaged" if checkpoint is None else self._damage(checkpoint)
            if checkpoint is not None and damage is None:
                return checkpoint
            self._set_aside(path, damage or "")
        return None

    def _damage(self, checkpoint: Checkpoint) -> str | None:
        try:
            return checkpoint.damage()
        except OSError as error:
            raise _unreadable(checkpoint.path, error) from error

    def _set_aside(self, path: Path, damage: str) -> None:
        aside = path.with_name(f"{path.name}.broken")
        if aside.exists():
            aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.broken")
        path.rename(aside)
        sync_directory(self.directory)
        self.notice(f"set aside {aside}: {damage}")

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

    def _remove(self, checkpoints: Sequence[Checkpoint]) -> None:
        for checkpoint in checkpoints:
            # Renamed first: a reader sees a whole checkpoint or none, and a killed removal is debris, not a half.
            doomed = self.directory / f".removing-{checkpoint.path.name}-{secrets.token_hex(8)}"
            checkpoint.path.rename(doomed)
            shutil.rmtree(doomed)
        if checkpoints:
            sync_directory(self.directory)

    def _remove_debris(self) -> None:
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
        if foreign := [path.name for path in sorted(directory.iterdir()) if not _DEBRIS.fullmatch(path.name)]:
            raise UsageError(
                f"{directory} is not a directory of checkpoints",
                why=f"it has no {MARKER}, but it has {', '.join(foreign[:3])}",
                remedy="give another results directory or run id; nothing there was touched",
            )
        write_whole(marker, json.dumps({"format": _FORMAT, "run_id": run_id}).encode() + b"\n")
    try:
        owner = json.loads(marker.read_bytes())
    except (OSError, ValueError) as error:
        owner = {"unreadable": str(error)}
    if owner != {"format": _FORMAT, "run_id": run_id}:
        raise UsageError(
            f"{directory} does not belong to the run {run_id}",
            why=f"its {MARKER} says {owner}",
            remedy="give another run id; nothing there was touched",
        )


class _HashingStream:
    """Passes bytes on to a stream and hashes them, so that the manifest says what was meant, not what the disk kept."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, content: bytes) -> int:
        self.sha256.update(content)
        self.size_bytes += len(content)
        return self._stream.write(content)

    def flush(self) -> None:
        self._stream.flush()


def _write_file(directory: Path, name: str, write: Callable[[BinaryIO], object]) -> FileEntry:
    with (directory / name).open("xb") as stream:
        hashing = _HashingStream(stream)
        write(hashing)  # type: ignore[arg-type]  # write and flush are what serialisers (torch.save, json, numpy) use
        stream.flush()
        os.fsync(stream.fileno())
    return FileEntry(path=name, size_bytes=hashing.size_bytes, sha256=hashing.sha256.hexdigest())


def _manifest(
    step: int,
    saved_at: datetime,
    metrics: Mapping[str, float],
    entries: Sequence[FileEntry],
    policy: Mapping[str, Any],
) -> bytes:
    content: dict[str, Any] = {
        "format": _FORMAT,
        "step": step,
        "saved_at": saved_at.isoformat(),
        "metrics": dict(metrics),
        "retention": policy,
        "files": [entry.as_json() for entry in entries],
    }
    return json.dumps({**content, "sha256": _checksum(content)}, indent=2).encode() + b"\n"


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read(path: Path) -> Checkpoint | None:
    """Return the checkpoint that a directory's manifest describes, or None when there is no sound manifest."""
    try:
        content = json.loads((path / MANIFEST).read_bytes())
        checksum = content.pop("sha256")
        if checksum != _checksum(content) or content["format"] != _FORMAT or path.name != f"step-{content['step']:09d}":
            return None
        return Checkpoint(
            path=path,
            step=content["step"],
            saved_at=datetime.fromisoformat(content["saved_at"]),
            metrics=content["metrics"],
            files=parse_entries(content["files"]),
            policy=content["retention"],
            pinned=(path / PIN).exists(),
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ProgramError:
    return ProgramError(
        f"{path} could not be read",
        why=error.strerror or str(error),
        remedy="mend the cause, then give the same command again; nothing was changed",
    )
