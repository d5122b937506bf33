"""Checkpoints where there is no rename: files first, the manifest last, and only what has a manifest is there.

Keeps the promises of `checkpoints` below a prefix of a bucket, with the same names and the same bytes, so that a run's
directory can be copied either way. A removal takes the manifest first. What has none is debris and goes at the next
save. There are no locks: the platform gives a run one writer at a time. Imports no cloud client: it is handed a Prefix.

    RESULTS/checkpoints/JOB/YYYY-MM-DD/RUN_ID/CHECKPOINTS.json, step-000000120/MANIFEST.json ...
"""

from __future__ import annotations

import io
import secrets
import tempfile
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from trimtab.errors import UsageError
from trimtab.storage.checkpoint_manifests import (
    MANIFEST,
    MARKER,
    PIN,
    PUBLISHED,
    Checkpoint,
    HashingSink,
    UnsoundError,
    check_marker,
    damage_of,
    decode_manifest,
    encode_manifest,
    marker_of,
    name_of,
    require_sound,
)
from trimtab.storage.durable import write_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from trimtab.storage.manifests import FileEntry
    from trimtab.storage.prefixes import Prefix
    from trimtab.storage.published import Source
    from trimtab.storage.retention import Retention

_SPOOL_BYTES: Final = 32 * 1024 * 1024  # what is bigger waits on the disk for its upload


def open_bucket_store(
    prefix: Prefix,
    directory: str,
    *,
    run_id: str,
    retention: Retention,
    notice: Callable[[str], None] = lambda _: None,
) -> BucketCheckpoints:
    """Open a run's directory below a prefix, marked when it is new. Raises UsageError when it is someone else's."""
    store = BucketCheckpoints(prefix=prefix, directory=f"{directory}/", retention=retention, notice=notice)
    marker, found = marker_of(run_id), b""
    with suppress(FileNotFoundError), prefix.reading(store.directory + MARKER) as stream:
        found = stream.read()
    if found == marker or not marker.startswith(found):
        check_marker(found, run_id, store)
        return store
    # None, or the beginning of ours: below a mount, a writer that was killed leaves a half, which may be empty.
    if foreign := sorted(name for name in store.names() if name != MARKER):
        raise UsageError(
            f"{store} is not a directory of checkpoints",
            why=f"it has no whole {MARKER}, but it has {', '.join(foreign[:3])}",
            remedy="give another results prefix or run id; nothing there was touched",
        )
    store.put(MARKER, marker)
    return store


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketCheckpoints:
    """One run's checkpoints below a prefix, and their one writer. Made by `open_bucket_store`."""

    prefix: Prefix
    directory: str
    retention: Retention
    notice: Callable[[str], None] = field(default=lambda _: None)

    def __str__(self) -> str:
        return f"{self.prefix}{self.directory}"

    def save(
        self,
        step: int,
        files: Mapping[str, Callable[[BinaryIO], object]],
        *,
        metrics: Mapping[str, float] | None = None,
    ) -> Checkpoint:
        """Write, publish and verify one checkpoint, then remove what the policy lets go.

        `files` maps each file's name to what writes it into a stream. On any failure the checkpoints before stay as
        they are. Raises BudgetError when the temporary folder is full, ProgramError when writing fails, UsageError when
        the step is already there.
        """
        with ExitStack() as spools:
            written: dict[str, tuple[FileEntry, BinaryIO]] = {}
            for name, write in files.items():
                spool = cast("BinaryIO", spools.enter_context(tempfile.SpooledTemporaryFile(_SPOOL_BYTES)))
                hashing = HashingSink(spool)
                with write_errors(f"{self}{name_of(step)} was not written; {tempfile.gettempdir()} refused its {name}"):
                    write(hashing)  # type: ignore[arg-type]  # write and flush are what serialisers use
                    spool.seek(0)
                written[name] = (hashing.entry(name), spool)
            entries = [entry for entry, _ in written.values()]
            manifest = encode_manifest(step, datetime.now(UTC), metrics, entries, self.retention)
            names = self.tidied_names()
            checkpoint = self._publish(step, manifest, entries, lambda name: nullcontext(written[name][1]), names)
        self.prune(self.checkpoints())
        return checkpoint

    def take(self, checkpoint: Checkpoint, source: Source, names: Collection[str]) -> Checkpoint:
        """Copy a checkpoint of another store, to the byte and with its pin; nothing is removed for it.

        `names` are what `tidied_names` told. Raises as `save` does, and FileNotFoundError when it is removed there
        meanwhile.
        """
        manifest = source.manifest_of(checkpoint)
        taken = self._publish(
            checkpoint.step, manifest, checkpoint.files, lambda name: source.open_file(checkpoint, name), names
        )
        return self.pin(taken) if checkpoint.pinned else taken

    def prune(self, among: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
        """Remove what the policy lets go of all that there are; return it, oldest first."""
        removable = self.retention.removable(among)
        for checkpoint in removable:
            self._remove(str(checkpoint.path), [f"{checkpoint.path}/{entry.path}" for entry in checkpoint.files])
        return removable

    def checkpoints(self, names: Collection[str] | None = None) -> tuple[Checkpoint, ...]:
        """Return the complete checkpoints, oldest first, their checksums unread; of a listing, where there is one."""
        names = self.names() if names is None else names
        found = (self._read(name, names) for name in _directories(names) if f"{name}/{MANIFEST}" in names)
        return tuple(sorted((item for item in found if item is not None), key=lambda item: item.step))

    def newest_complete(self) -> Checkpoint | None:
        """Return the newest checkpoint that reads back with the right checksums; set aside as `*.broken` the newer."""
        names = self.names()
        for name in sorted(_directories(names), key=lambda item: (len(item), item), reverse=True):
            if f"{name}/{MANIFEST}" not in names:
                continue
            try:
                return require_sound(self._read(name, names), self.damage, f"{self}{name}")
            except UnsoundError as error:
                self.set_aside(name, error.why)
        return None

    def damage(self, checkpoint: Checkpoint) -> str | None:
        """Return what is wrong with a checkpoint's files, or None. Reads every byte from the bucket."""
        return damage_of(checkpoint, lambda name: self.open_file(checkpoint, name))

    def set_aside(self, name: str, damage: str) -> None:
        """Move a damaged checkpoint out of the way, so that its step is free again."""
        aside = f"{name}.broken"
        names = self.names()
        if any(other.startswith(f"{aside}/") for other in names):
            aside = f"{name}.{secrets.token_hex(4)}.broken"
        for other in sorted(names):
            if other.startswith(f"{name}/"):
                with self.prefix.reading(self.directory + other) as stream:
                    renamed = f"{self.directory}{aside}/{other.removeprefix(f'{name}/')}"
                    self.prefix.put(renamed, stream, sha256=None)
        self._remove(name, [other for other in names if other.startswith(f"{name}/")])
        self.notice(f"set aside {self}{aside}: {damage}")

    def pin(self, checkpoint: Checkpoint) -> Checkpoint:
        """Keep a checkpoint whatever the policy says, until `unpin`."""
        self.put(f"{checkpoint.path}/{PIN}", b"")
        return replace(checkpoint, pinned=True)

    def unpin(self, checkpoint: Checkpoint) -> Checkpoint:
        """Let the policy decide about a checkpoint again."""
        self.prefix.remove([f"{self.directory}{checkpoint.path}/{PIN}"])
        return replace(checkpoint, pinned=False)

    def open_file(self, checkpoint: Checkpoint, name: str) -> AbstractContextManager[BinaryIO]:
        """Open one of a checkpoint's files. Raises FileNotFoundError."""
        return self.prefix.reading(f"{self.directory}{checkpoint.path}/{name}")

    def manifest_of(self, checkpoint: Checkpoint) -> bytes:
        """Return a checkpoint's manifest as it stands there. Raises FileNotFoundError."""
        with self.open_file(checkpoint, MANIFEST) as stream:
            return stream.read()

    def names(self) -> Mapping[str, int]:
        """Return the size of each object of this run, by its name below the run's directory."""
        sizes = self.prefix.sizes(self.directory)
        return {name.removeprefix(self.directory): size for name, size in sizes.items()}

    def tidied_names(self) -> Mapping[str, int]:
        """Return what `names` does, once what killed writers left is removed."""
        names = self.names()
        halves = [name for name in _directories(names) if f"{name}/{MANIFEST}" not in names]
        debris = [other for other in names if other.partition("/")[0] in halves]
        if debris:
            self.prefix.remove([self.directory + other for other in debris])
        return {name: size for name, size in names.items() if name not in debris}

    def put(self, name: str, content: bytes) -> None:
        """Write a small object of this run."""
        self.prefix.put(self.directory + name, io.BytesIO(content), sha256=sha256(content).hexdigest())

    def _publish(
        self,
        step: int,
        manifest: bytes,
        entries: Sequence[FileEntry],
        open_file: Callable[[str], AbstractContextManager[BinaryIO]],
        names: Collection[str],
    ) -> Checkpoint:
        name = name_of(step)
        if f"{name}/{MANIFEST}" in names:
            if self._read(name, names) is not None:
                raise UsageError(
                    f"{self}{name} is already there",
                    why="a checkpoint is written once",
                    remedy="go on from it, or give another step",
                )
            self.set_aside(name, f"its {MANIFEST} is not whole")  # below a mount, what a killed writer left
        for entry in entries:
            with open_file(entry.path) as stream:
                self.prefix.put(f"{self.directory}{name}/{entry.path}", stream, sha256=entry.sha256)
        self.put(f"{name}/{MANIFEST}", manifest)
        try:
            return require_sound(self._read(name, ()), self.damage, f"{self}{name}")
        except UnsoundError as error:
            self.set_aside(name, error.why)
            raise

    def _read(self, name: str, names: Collection[str]) -> Checkpoint | None:
        """Return the checkpoint that lies there as its manifest says, or None when there is no sound manifest."""
        try:
            with self.prefix.reading(f"{self.directory}{name}/{MANIFEST}") as stream:
                return decode_manifest(stream.read(), Path(name), pinned=f"{name}/{PIN}" in names)
        except FileNotFoundError:
            return None

    def _remove(self, name: str, objects: Sequence[str]) -> None:
        """Take the manifest first: from then on it is debris, and no reader's half."""
        self.prefix.remove([f"{self.directory}{name}/{MANIFEST}"])
        self.prefix.remove([self.directory + other for other in objects])


def _directories(names: Collection[str]) -> tuple[str, ...]:
    """Return the directories of checkpoints among names, whole or not."""
    found = {first for first, slash, _ in (name.partition("/") for name in names) if slash}
    return tuple(sorted(name for name in found if PUBLISHED.fullmatch(name)))
