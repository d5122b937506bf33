"""What a checkpoint is, what its manifest says, and whose directory it lies in: the same on a disk and in a bucket.

Pure, but for reading files to check them. The training payload imports it: no cloud client, no torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from trimtab.errors import ProgramError, UsageError
from trimtab.storage.manifests import FileEntry, parse_entries
from trimtab.storage.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

MANIFEST: Final = "MANIFEST.json"
MARKER: Final = "CHECKPOINTS.json"
PIN: Final = "PINNED"
PUBLISHED: Final = re.compile(r"step-\d{9,}")
_FORMAT: Final = "trimtab-checkpoint/2"
_PIECE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One published checkpoint. `metrics` is empty for one saved in the middle of an epoch: it is nobody's best.

    `path` is its directory; in a bucket its name below the run's prefix. `policy` holds the fields of the Retention
    that its writer kept to.
    """

    path: Path
    step: int
    saved_at: datetime
    metrics: Mapping[str, float]
    files: tuple[FileEntry, ...]
    policy: Mapping[str, Any] = field(default_factory=dict)
    pinned: bool = False

    def damage(self) -> str | None:
        """Return what is wrong with the files on this disk against their checksums, or None. Reads every byte."""
        return damage_of(self, lambda name: (self.path / name).open("rb"))


def damage_of(checkpoint: Checkpoint, open_file: Callable[[str], AbstractContextManager[BinaryIO]]) -> str | None:
    """Return what is wrong with a checkpoint's files against their checksums, or None. Reads every byte."""
    for entry in checkpoint.files:
        sink = HashingSink()
        try:
            with open_file(entry.path) as stream:
                pour(stream, sink)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return f"{entry.path} is missing"
        if sink.size_bytes != entry.size_bytes:
            return f"{entry.path} has {sink.size_bytes} bytes, not {entry.size_bytes}"
        if sink.sha256.hexdigest() != entry.sha256:
            return f"{entry.path} has another checksum than its manifest says"
    return None


class DamageError(ProgramError):
    """What was read is not what was saved."""


class UnsoundError(ProgramError):
    """A checkpoint does not read back as its manifest says."""


def require_sound(
    checkpoint: Checkpoint | None, damage: Callable[[Checkpoint], str | None], where: object
) -> Checkpoint:
    """Return a checkpoint that reads back as its manifest says; None had no sound one. Raises UnsoundError."""
    wrong = "its manifest is missing or damaged" if checkpoint is None else damage(checkpoint)
    if checkpoint is None or wrong:
        raise UnsoundError(
            f"{where} does not read back as it was written",
            why=wrong or "",
            remedy="look at that disk or bucket, then give the same command again; those before it are untouched",
        )
    return checkpoint


class Writable(Protocol):
    """What bytes can be written to."""

    def write(self, content: bytes, /) -> int:
        """Take some bytes; return how many."""
        ...


class HashingSink:
    """Hashes what is written to it and passes it on, so that a manifest says what was meant, not what the disk kept."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        """Pass everything on to a stream, where there is one."""
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0

    def write(self, content: bytes) -> int:
        """Take some bytes."""
        self.sha256.update(content)
        self.size_bytes += len(content)
        return len(content) if self._stream is None else self._stream.write(content)

    def flush(self) -> None:
        """Pass on what the stream still holds back."""
        if self._stream is not None:
            self._stream.flush()

    def entry(self, name: str) -> FileEntry:
        """Return what was written as a file of this name."""
        return FileEntry(path=name, size_bytes=self.size_bytes, sha256=self.sha256.hexdigest())


def pour(stream: BinaryIO, sink: Writable) -> None:
    """Write all of a stream to a sink, in pieces."""
    while piece := stream.read(_PIECE_BYTES):
        sink.write(piece)


def name_of(step: int) -> str:
    """Return the name of a step's checkpoint."""
    return f"step-{step:09d}"


def encode_manifest(
    step: int,
    saved_at: datetime,
    metrics: Mapping[str, float] | None,
    entries: Iterable[FileEntry],
    policy: Retention,
) -> bytes:
    """Return a manifest. Metrics that are not numbers are left out: JSON has no NaN, and they are nobody's best."""
    content: dict[str, Any] = {
        "format": _FORMAT,
        "step": step,
        "saved_at": saved_at.isoformat(),
        "metrics": {key: value for key, value in (metrics or {}).items() if math.isfinite(value)},
        "retention": asdict(policy),
        "files": [entry.as_json() for entry in sorted(entries)],
    }
    return json.dumps({**content, "sha256": _checksum(content)}, indent=2).encode() + b"\n"


def decode_manifest(manifest: bytes, path: Path, *, pinned: bool) -> Checkpoint | None:
    """Return the checkpoint that lies at a path as its manifest says, or None when the manifest is not sound."""
    try:
        content = json.loads(manifest)
        checksum = content.pop("sha256")
        if checksum != _checksum(content) or content["format"] != _FORMAT or path.name != name_of(content["step"]):
            return None
        return Checkpoint(
            path=path,
            step=content["step"],
            saved_at=datetime.fromisoformat(content["saved_at"]),
            metrics=content["metrics"],
            files=parse_entries(content["files"]),
            policy=content["retention"],
            pinned=pinned,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def marker_of(run_id: str) -> bytes:
    """Return the content of the file that says whose directory it is."""
    return json.dumps({"format": _FORMAT, "run_id": run_id}).encode() + b"\n"


def check_marker(marker: bytes, run_id: str, where: object) -> None:
    """Raise UsageError when a directory is not this run's."""
    try:
        owner = json.loads(marker)
    except ValueError as error:
        owner = {"unreadable": str(error)}
    if owner != json.loads(marker_of(run_id)):
        raise UsageError(
            f"{where} does not belong to the run {run_id}",
            why=f"its {MARKER} says {owner}",
            remedy="give another run id; nothing there was touched",
        )


def retention_of(checkpoints: Sequence[Checkpoint]) -> Retention:
    """Return the policy that the writer of the newest kept to. Raises UsageError when there is none to tell."""
    newest = max(checkpoints, key=lambda item: item.step, default=None)
    try:
        return Retention(**(newest.policy if newest else {}))
    except TypeError as error:
        raise UsageError(
            f"the policy in {newest and newest.path} cannot be read",
            why=str(error),
            remedy="another version of this program wrote it: prune with that one; nothing was removed",
        ) from error


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
