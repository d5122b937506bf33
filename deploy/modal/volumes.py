"""Data sets on a Modal Volume: sent once, packed in shards, listed, verified, mounted.

As a library, and as the program that `trimtab data` starts, with one JSON document on standard output:

    VolumeManager("my-data").upload_dataset(Path("gulls"), "datasets/gulls/")
    python -m deploy.modal.volumes push --volume NAME --dataset PREFIX --from DIR [--check] | list ... |
        verify ... [--quick]

Shards are named by what is in them: what is there is not sent again, nothing is overwritten but the index, which is
written last, and nothing is removed. So pushes side by side cannot mix: the index that is there names whole shards.
In a container `trimtab.storage.packed.open_files` reads them file by file.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import modal
from modal.types import FileEntryType

from trimtab.errors import DriftError, ProgramError, TrimtabError, UsageError
from trimtab.storage.folders import entries_of, files_below
from trimtab.storage.manifests import MAX_MANIFEST_BYTES, FileEntry, digest
from trimtab.storage.objects import Progress
from trimtab.storage.packed import chunks_of
from trimtab.storage.shards import (
    FOLDER,
    INDEX,
    LARGE_BYTES,
    SHARD_BYTES,
    Shard,
    decode_index,
    encode_index,
    plan_shards,
    shard_damage,
    write_shard,
)
from trimtab.units import format_size

_SAY_EVERY_S: Final = 1.0
_WHICH_MODAL: Final = "check for which Modal the client is set up: MODAL_SERVER_URL, `modal token info`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What an upload did. `unlisted` are shards beside it which no index names: earlier versions'."""

    sha256: str
    files: int
    size_bytes: int
    shards: int
    sent_shards: int
    sent_bytes: int
    unlisted: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a data set holds, and everything that is wrong with it, by file."""

    sha256: str
    files: int
    size_bytes: int
    problems: tuple[str, ...]


class VolumeManager:
    """The data sets of one Volume, which is made when it is not there.

    `at_once_bytes` of packed shards are in memory at a time; a kill makes us send as much again.
    """

    def __init__(self, name: str, *, at_once_bytes: int = 4 * SHARD_BYTES) -> None:
        self.name = name
        self._at_once_bytes = at_once_bytes
        self.volume = modal.Volume.from_name(name, create_if_missing=True)
        """The Volume, to be mounted: `volumes={"/data": manager.volume}`."""

    def upload_dataset(
        self,
        directory: Path,
        dataset: str = "",
        *,
        check: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Uploaded:
        """Send what the Volume does not have of a directory, then the index. `dataset` is a folder of the Volume.

        A shard is there when its size is right; with `check` it is read, and sent again where a byte of it is wrong.
        Killed, the same call goes on where it was. Raises UsageError for a directory that is no data set or changes
        meanwhile, DriftError when another push published meanwhile, ProgramError when Modal refuses.
        """
        found = files_below(directory)
        stamps = {path: _stamp(path) for path, size in found.values() if size >= LARGE_BYTES}
        entries = entries_of(found)
        shards = plan_shards(entries)
        with _explained(f"sending {directory} to {self._place(dataset)}"):
            before, there = self._read(dataset, INDEX), self._sizes(dataset)
            distinct = {shard.name: shard for shard in shards}
            missing = [
                shard
                for name, shard in distinct.items()
                if there.get(name) != shard.size_bytes
                or (check and any(self._problems(dataset, shard, shard.size_bytes, contents=True)))
            ]
            self._send(missing, dataset, {name: path for name, (path, _) in found.items()}, progress)
            # Modal reads a large file by itself, after us; a small one was checked while it was packed.
            if changed := [str(path) for path, before in stamps.items() if _stamp(path) != before]:
                raise UsageError(
                    f"{changed[0]} changed while it was sent", why="something writes it", remedy="push again at rest"
                )
            self._publish(dataset, encode_index(shards), before)
        return Uploaded(
            sha256=digest(entries),
            files=len(entries),
            size_bytes=sum(entry.size_bytes for entry in entries),
            shards=len(distinct),
            sent_shards=len(missing),
            sent_bytes=sum(shard.size_bytes for shard in missing),
            unlisted=tuple(sorted(there.keys() - distinct.keys())),
        )

    def _publish(self, dataset: str, index: bytes, before: bytes | None) -> None:
        """Write the index, unless it is there, or another than the one `before` is."""
        now = self._read(dataset, INDEX)
        if now == index:
            return
        if now != before:  # a Volume knows no condition: one in this very instant is not seen, and then the last stays
            raise DriftError(
                f"{self._place(dataset)} was published by another push while this one was under way",
                why="its index was replaced; what it names is whole, for shards are named by what is in them",
                remedy="if yours is the one that is meant, push it again: nothing is sent but the index",
            )
        with self.volume.batch_upload(force=True) as batch:
            batch.put_file(io.BytesIO(index), f"/{_folder(dataset)}{INDEX}")

    def list_files(self, dataset: str = "") -> tuple[FileEntry, ...]:
        """Return the files of a data set. Raises UsageError where there is no complete one."""
        shards = self._shards(dataset)
        return tuple(sorted(member.entry for shard in shards for member in shard.members))

    def verify(
        self,
        dataset: str = "",
        *,
        contents: bool = True,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> Verified:
        """Compare a data set with its index, every byte of it, or names and sizes only. Names what is wrong.

        Raises UsageError where there is no complete data set.
        """
        shards = self._shards(dataset)
        distinct = tuple({shard.name: shard for shard in shards}.values())
        size_bytes, bytes_done = sum(shard.size_bytes for shard in distinct), 0
        problems: list[str] = []
        with _explained(f"verifying {self._place(dataset)}"):
            there = self._sizes(dataset)
            for number, shard in enumerate(distinct, start=1):
                problems += self._problems(dataset, shard, there.get(shard.name), contents=contents)
                bytes_done += shard.size_bytes
                progress(Progress(files_done=number, files=len(distinct), bytes_done=bytes_done, size_bytes=size_bytes))
        entries = tuple(member.entry for shard in shards for member in shard.members)
        return Verified(
            sha256=digest(entries),
            files=len(entries),
            size_bytes=sum(entry.size_bytes for entry in entries),
            problems=tuple(sorted(problems)),
        )

    def _problems(self, dataset: str, shard: Shard, size: int | None, *, contents: bool) -> Iterable[str]:
        if size is None:
            return shard_damage(shard, None)
        if contents:
            return tuple(shard_damage(shard, self.volume.read_file(f"{_folder(dataset)}{FOLDER}/{shard.name}")))
        if size != shard.size_bytes:
            names = ", ".join(member.entry.path for member in shard.members[:3])
            return (f"{shard.name} (with {names} ...) has {size} bytes, not {shard.size_bytes}",)
        return ()

    def _send(
        self,
        missing: Sequence[Shard],
        dataset: str,
        paths: dict[str, Path],
        progress: Callable[[Progress], None],
    ) -> None:
        files, size_bytes, bytes_done, files_done = len(missing), sum(shard.size_bytes for shard in missing), 0, 0
        for group in _groups(missing, self._at_once_bytes):
            with self.volume.batch_upload(force=True) as batch:
                for shard in group:
                    target = f"/{_folder(dataset)}{FOLDER}/{shard.name}"
                    if shard.name.endswith(".bin"):
                        batch.put_file(paths[shard.members[0].entry.path], target)
                    else:
                        packed = io.BytesIO()
                        write_shard(shard, packed, lambda entry: chunks_of(paths[entry.path]))
                        packed.seek(0)
                        batch.put_file(packed, target)
            files_done += len(group)
            bytes_done += sum(shard.size_bytes for shard in group)
            progress(Progress(files_done=files_done, files=files, bytes_done=bytes_done, size_bytes=size_bytes))

    def _sizes(self, dataset: str) -> dict[str, int]:
        """Return the size of each shard that is there, by name. One listing."""
        try:
            entries = self.volume.listdir(f"{_folder(dataset)}{FOLDER}")
        except (modal.exception.NotFoundError, FileNotFoundError):
            return {}
        return {Path(entry.path).name: entry.size for entry in entries if entry.type == FileEntryType.FILE}

    def holds(self, dataset: str = "") -> bool:
        """Tell whether there is a complete data set."""
        return self._index(dataset) is not None

    def _index(self, dataset: str) -> bytes | None:
        with _explained(f"reading {self._place(dataset)}"):
            return self._read(dataset, INDEX)

    def _shards(self, dataset: str) -> tuple[Shard, ...]:
        content = self._index(dataset)
        if content is None:
            raise UsageError(
                f"{self._place(dataset)} has no complete data set",
                why=f"there is no {INDEX}, which a push writes last",
                remedy="push it, or push it again: `trimtab data push DIR --to volume`",
            )
        try:
            return decode_index(content)
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{self._place(dataset)}{INDEX} is not an index to be trusted",
                why=str(error),
                remedy="push the data set again",
            ) from error

    def _read(self, dataset: str, name: str) -> bytes | None:
        content = bytearray()
        try:
            for chunk in self.volume.read_file(f"{_folder(dataset)}{name}"):
                content += chunk
                if len(content) > MAX_MANIFEST_BYTES:  # whatever it is, it is none of ours, and is refused as that
                    break
        except (modal.exception.NotFoundError, FileNotFoundError):
            return None
        return bytes(content)

    def _place(self, dataset: str) -> str:
        return f"volume://{self.name}/{_folder(dataset)}"


def _folder(dataset: str) -> str:
    """Return a data set's folder, with a slash at its end; nothing for the Volume's own root."""
    clean = dataset.strip("/")
    return f"{clean}/" if clean else ""


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _groups(shards: Sequence[Shard], at_once_bytes: int) -> Iterator[list[Shard]]:
    """Divide shards so that what is packed in memory is bounded; each group is on the Volume before the next."""
    group: list[Shard] = []
    size_bytes = 0
    for shard in shards:
        if group and size_bytes + shard.size_bytes > at_once_bytes:
            yield group
            group, size_bytes = [], 0
        group.append(shard)
        size_bytes += shard.size_bytes
    if group:
        yield group


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    """Raise ProgramError, saying what was being done, where Modal refuses or cannot be reached."""
    try:
        yield
    except modal.exception.Error as error:
        why = f"{type(error).__name__}: {error}"
        raise ProgramError(f"{doing} failed", why=why, remedy=_WHICH_MODAL) from error


def _told() -> Callable[[Progress], None]:
    """Return what says on standard error how far a transfer is, once a second at most."""
    last_s = 0.0

    def tell(done: Progress) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= _SAY_EVERY_S or done.files_done == done.files:
            last_s = time.monotonic()
            said = f"{done.files_done} of {done.files} shards, {format_size(done.bytes_done)}"
            sys.stderr.write(f"{said} of {format_size(done.size_bytes)}\n")
            sys.stderr.flush()

    return tell


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m deploy.modal.volumes", description="Data sets on a Volume.")
    parser.add_argument("verb", choices=("push", "list", "verify"))
    parser.add_argument("--from", dest="directory", type=Path, metavar="DIR", help="what to push")
    parser.add_argument("--volume", required=True, metavar="NAME")
    parser.add_argument("--dataset", default="", metavar="PREFIX", help="its folder on the Volume")
    parser.add_argument("--check", action="store_true", help="push: read the shards that are there, and mend them")
    parser.add_argument("--quick", action="store_true", help="verify names and sizes only")
    options = parser.parse_args(arguments)
    if (options.verb == "push") != (options.directory is not None):
        parser.error("push takes --from DIR, list and verify do not")
    manager = VolumeManager(options.volume)
    document: dict[str, Any]
    try:
        match options.verb:
            case "push":
                sent = manager.upload_dataset(options.directory, options.dataset, check=options.check, progress=_told())
                document = asdict(sent)
            case "list":
                entries = manager.list_files(options.dataset) if manager.holds(options.dataset) else ()
                document = {
                    "sha256": digest(entries) if entries else None,
                    "files": [entry.as_json() for entry in entries],
                }
            case _:
                document = asdict(manager.verify(options.dataset, contents=not options.quick, progress=_told()))
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{json.dumps(document)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
