"""A data set packed for a Volume, where many small files are slow and at most 500,000 may be: shards and an index.

Small files lie together in uncompressed tar files, large ones alone. A shard is named by what is in it, so one that is
there need not be written again; the index is written last and says which belong. Any tar reads the shards, as does
`packed`, file by file. The training payload imports this module: paths only, no cloud.

    ROOT/SHARDS.json                        every file: size, checksum, shard, offset
    ROOT/shards/DIGEST.tar                  small files
    ROOT/shards/DIGEST.bin                  one large file, as it is
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from trimtab.errors import UsageError
from trimtab.storage.manifests import MAX_MANIFEST_BYTES, FileEntry, digest, load_manifest, parse_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

INDEX: Final = "SHARDS.json"
FOLDER: Final = "shards"
LARGE_BYTES: Final = 8 * 1024**2  # from here on a file is a shard of its own
SHARD_BYTES: Final = 32 * 1024**2  # of small files, at most
_LEAST_BYTES: Final = SHARD_BYTES // 4
_FORMAT: Final = "trimtab-shards/1"
_BLOCK: Final = 512  # of a tar


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a shard, and where its bytes begin in it."""

    entry: FileEntry
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Files that lie together. Its name and its bytes follow from what is in it, and from nothing else."""

    name: str
    size_bytes: int
    members: tuple[Member, ...]


def plan_shards(entries: Iterable[FileEntry]) -> tuple[Shard, ...]:
    """Return the shards of a data set.

    Where a shard ends depends on the names and sizes next to it: a file that comes or goes changes its own shard and
    perhaps the next few, and not all that follow.
    """
    shards: list[Shard] = []
    together: list[FileEntry] = []
    size_bytes = 0
    for entry in sorted(entries):
        if entry.size_bytes >= LARGE_BYTES:
            shards.append(_alone(entry))
            continue
        padded = _padded(entry.size_bytes) + _BLOCK
        if together and size_bytes + padded > SHARD_BYTES:
            shards.append(_packed(together))
            together, size_bytes = [], 0
        together.append(entry)
        size_bytes += padded
        if size_bytes >= _LEAST_BYTES and _ends_here(entry.path, padded):
            shards.append(_packed(together))
            together, size_bytes = [], 0
    if together:
        shards.append(_packed(together))
    return tuple(shards)


def write_shard(shard: Shard, stream: Any, read: Callable[[FileEntry], Iterable[bytes]]) -> None:
    """Write a shard's bytes. Raises UsageError when a file is not what its entry says any more."""
    is_tar = shard.name.endswith(".tar")
    for member in shard.members:
        entry = member.entry
        if is_tar:
            stream.write(_header(entry))
        content, size = hashlib.sha256(), 0
        for chunk in read(entry):
            content.update(chunk)
            size += len(chunk)
            stream.write(chunk)
        if size != entry.size_bytes or content.hexdigest() != entry.sha256:
            raise UsageError(
                f"{entry.path} changed while it was packed", why="something writes it", remedy="do it again at rest"
            )
        if is_tar:
            stream.write(bytes(_padded(size) - size))
    if is_tar:
        stream.write(bytes(2 * _BLOCK))


def shard_damage(shard: Shard, chunks: Iterable[bytes] | None) -> Iterator[str]:
    """Yield what is wrong with a shard's bytes, by the name of each file in it; None: the shard is not there."""
    if chunks is None:
        yield from (f"{member.entry.path} is missing (with {shard.name})" for member in shard.members)
        return
    if shard.name.endswith(".bin"):
        content, size = hashlib.sha256(), 0
        for chunk in chunks:
            content.update(chunk)
            size += len(chunk)
        entry = shard.members[0].entry
        if size != entry.size_bytes:
            yield f"{entry.path} has {size} bytes, not {entry.size_bytes}"
        elif content.hexdigest() != entry.sha256:
            yield f"{entry.path} has another checksum"
        return
    whole = b"".join(chunks)
    if len(whole) > shard.size_bytes:
        yield f"{shard.name} has {len(whole)} bytes, not {shard.size_bytes}"
    for member in shard.members:
        entry, content_bytes = member.entry, whole[member.offset : member.offset + member.entry.size_bytes]
        if len(content_bytes) != entry.size_bytes:
            yield f"{entry.path} is cut off after {len(content_bytes)} of {entry.size_bytes} bytes"
        elif hashlib.sha256(content_bytes).hexdigest() != entry.sha256:
            yield f"{entry.path} has another checksum"


def encode_index(shards: Sequence[Shard]) -> bytes:
    """Return the text of an index."""
    members = [(member.entry, shard.name, member.offset) for shard in shards for member in shard.members]
    files = [{**entry.as_json(), "shard": name, "offset": offset} for entry, name, offset in members]
    content = {"format": _FORMAT, "sha256": digest(entry for entry, _, _ in members), "files": files}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def decode_index(content: bytes) -> tuple[Shard, ...]:
    """Return the shards of an index. Raises ValueError, or RecursionError, where it is not to be trusted."""
    raw = load_manifest(content, _FORMAT)
    entries = parse_entries(raw.get("files"))
    if digest(entries) != raw.get("sha256"):
        raise ValueError("its digest is not that of its files")
    shards = plan_shards(entries)
    where = {member.entry.path: (shard.name, member.offset) for shard in shards for member in shard.members}
    if any(where[file["path"]] != (file.get("shard"), file.get("offset")) for file in raw["files"]):
        raise ValueError("another version of this program packed it")
    return shards


def read_index(root: Path) -> tuple[Shard, ...] | None:
    """Return the shards of a packed data set, or None where there is none. Raises UsageError for a broken index."""
    try:
        with (root / INDEX).open("rb") as stream:
            return decode_index(stream.read(MAX_MANIFEST_BYTES + 1))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{root / INDEX} is not an index to be trusted", why=str(error), remedy="push or pack the data set again"
        ) from error


def _alone(entry: FileEntry) -> Shard:
    member = Member(entry=entry, offset=0)
    return Shard(name=f"{entry.sha256}.bin", size_bytes=entry.size_bytes, members=(member,))


def _packed(entries: Sequence[FileEntry]) -> Shard:
    members: list[Member] = []
    position = 0
    for entry in entries:
        position += _header_bytes(entry)
        members.append(Member(entry=entry, offset=position))
        position += _padded(entry.size_bytes)
    return Shard(name=f"{digest(entries)}.tar", size_bytes=position + 2 * _BLOCK, members=tuple(members))


def _header(entry: FileEntry) -> bytes:
    """Return a member's header: no time, no owner, so that the same files are the same bytes."""
    info = tarfile.TarInfo(entry.path)
    info.size, info.mode = entry.size_bytes, 0o444
    return info.tobuf(tarfile.PAX_FORMAT)


def _header_bytes(entry: FileEntry) -> int:
    if entry.path.isascii() and len(entry.path) <= tarfile.LENGTH_NAME:
        return _BLOCK  # what the header is then; to make it would take most of the time of a plan
    return len(_header(entry))


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _ends_here(path: str, size_bytes: int) -> bool:
    """Tell whether a shard ends after this file: by chance of its name, the likelier the larger it is."""
    drawn = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
    return drawn < size_bytes / _LEAST_BYTES
