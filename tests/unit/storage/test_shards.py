"""Packing a data set in shards, reading it file by file, and what is said of damage."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ProgramError, UsageError
from trimtab.storage.folders import entries_of, files_below
from trimtab.storage.manifests import FileEntry
from trimtab.storage.packed import FolderFiles, PackedFiles, open_files, pack, unpack
from trimtab.storage.shards import (
    FOLDER,
    INDEX,
    LARGE_BYTES,
    SHARD_BYTES,
    decode_index,
    encode_index,
    plan_shards,
    read_index,
    shard_damage,
    write_shard,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = "a/" + "very " * 40 + "long name ü.txt"  # more than the 100 characters of an old tar


def entry_of(path: str, content: bytes) -> FileEntry:
    return FileEntry(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def made_up(path: str, size_bytes: int) -> FileEntry:
    return FileEntry(path=path, size_bytes=size_bytes, sha256=hashlib.sha256(path.encode()).hexdigest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    contents = {"train/a.txt": b"a" * 700, "train/b.txt": b"", LONG: b"long", "large.bin": bytes(LARGE_BYTES) + b"end"}
    for path, content in contents.items():
        (tmp_path / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / path).write_bytes(content)
    return tmp_path / "data"


def packed(folder: Path, root: Path) -> PackedFiles:
    return PackedFiles(root, pack(folder, root, entries_of(files_below(folder))))


def test_what_was_packed_is_read_file_by_file(folder: Path, tmp_path: Path) -> None:
    packed(folder, tmp_path / "packed")
    plain, files = open_files(folder), open_files(tmp_path / "packed")
    assert isinstance(plain, FolderFiles)
    assert isinstance(files, PackedFiles)
    assert files.paths() == plain.paths() == tuple(sorted(["train/a.txt", "train/b.txt", LONG, "large.bin"]))
    for path in files.paths():
        assert files.read(path) == plain.read(path)
        assert files.size_bytes(path) == plain.size_bytes(path)


def test_any_tar_reads_a_shard(folder: Path, tmp_path: Path) -> None:
    packed(folder, tmp_path / "packed")
    (shard,) = (tmp_path / "packed" / FOLDER).glob("*.tar")
    with tarfile.open(shard) as archive:
        assert {member.name: member.size for member in archive} == {"train/a.txt": 700, "train/b.txt": 0, LONG: 4}


def test_what_is_unpacked_is_the_folder(folder: Path, tmp_path: Path) -> None:
    packed(folder, tmp_path / "packed")
    (tmp_path / "out" / "train").mkdir(parents=True)
    (tmp_path / "out" / "train" / "a.txt").write_bytes(b"half")
    unpack(tmp_path / "packed", tmp_path / "out")
    unpack(tmp_path / "packed", tmp_path / "out")
    assert entries_of(files_below(tmp_path / "out")) == entries_of(files_below(folder))


def test_a_second_pack_writes_no_shard_again_and_a_change_writes_its_own(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "packed"
    packed(folder, root)
    before = {path.name: path.stat().st_mtime_ns for path in (root / FOLDER).iterdir()}
    packed(folder, root)
    assert {path.name: path.stat().st_mtime_ns for path in (root / FOLDER).iterdir()} == before
    (folder / "train" / "a.txt").write_bytes(b"b" * 700)
    files = packed(folder, root)
    after = {path.name: path.stat().st_mtime_ns for path in (root / FOLDER).iterdir()}
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    assert files.read("train/a.txt") == b"b" * 700


def test_a_half_written_shard_is_written_again(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "packed"
    packed(folder, root)
    (shard,) = (root / FOLDER).glob("*.tar")
    shard.write_bytes(shard.read_bytes()[:-1])
    (root / INDEX).unlink()
    assert read_index(root) is None
    assert packed(folder, root).read("train/a.txt") == b"a" * 700


def test_a_volume_is_committed_before_and_after_its_index(folder: Path, tmp_path: Path) -> None:
    root, seen = tmp_path / "packed", []
    pack(folder, root, entries_of(files_below(folder)), commit=lambda: seen.append((root / INDEX).exists()))
    assert seen == [False, True]


def test_a_file_that_changed_since_it_was_listed_is_refused(folder: Path, tmp_path: Path) -> None:
    entries = entries_of(files_below(folder))
    (folder / "train" / "a.txt").write_bytes(b"b" * 700)
    with pytest.raises(UsageError, match=r"train/a\.txt changed while it was packed"):
        pack(folder, tmp_path / "packed", entries)
    assert not (tmp_path / "packed" / INDEX).exists()


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_shard_is_named_where_it_is_read(folder: Path, tmp_path: Path, damage: str) -> None:
    files = packed(folder, tmp_path / "packed")
    (shard,) = (tmp_path / "packed" / FOLDER).glob("*.tar")
    content = bytearray(shard.read_bytes())
    position = content.index(b"a" * 700)
    content[position] ^= 1
    shard.unlink()
    if damage != "missing":
        shard.write_bytes(content if damage == "flipped" else content[:position])
    with pytest.raises(ProgramError, match="is damaged") as caught:
        files.read("train/a.txt")
    assert "train/a.txt" in caught.value.why
    if damage == "flipped":
        assert files.read(LONG) == b"long"


def test_every_file_of_a_damaged_shard_is_told_by_name() -> None:
    contents = {"a": b"x" * 600, "b": b"y", "c": b"z" * 10}
    (shard,) = plan_shards(entry_of(path, content) for path, content in contents.items())
    stream = io.BytesIO()
    write_shard(shard, stream, lambda entry: [contents[entry.path]])
    whole = stream.getvalue()
    assert len(whole) == shard.size_bytes
    assert list(shard_damage(shard, [whole])) == []
    assert list(shard_damage(shard, [whole[:1000], b"\xff", whole[1001:]])) == ["a has another checksum"]
    cut = shard.members[2].offset + 3
    assert list(shard_damage(shard, [whole[:cut]])) == ["c is cut off after 3 of 10 bytes"]
    assert [said.split(" (")[0] for said in shard_damage(shard, None)] == [f"{path} is missing" for path in "abc"]
    assert "bytes, not" in next(iter(shard_damage(shard, [whole, b"more"])))


def test_shards_are_of_a_size_and_large_files_are_alone() -> None:
    entries = [made_up(f"{number:06d}", 10_000) for number in range(8_000)]
    large = made_up("000100x", LARGE_BYTES)
    shards = plan_shards([*entries, large])
    assert sorted(member.entry for shard in shards for member in shard.members) == sorted([*entries, large])
    assert [len(shard.members) for shard in shards if shard.name.endswith(".bin")] == [1]
    assert all(shard.size_bytes <= SHARD_BYTES + 4096 for shard in shards if shard.name.endswith(".tar"))
    assert len(shards) < len(entries) / 500


def test_one_file_more_changes_few_shards() -> None:
    entries = [made_up(f"{number:06d}", 100_000) for number in range(4_000)]
    before = {shard.name for shard in plan_shards(entries)}
    after = {shard.name for shard in plan_shards([*entries, made_up("000000x", 100_000)])}
    assert len(before) > 15
    assert len(after - before) <= 3


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.update(format="trimtab-shards/2"),
        lambda raw: raw.update(sha256="0" * 64),
        lambda raw: raw["files"][0].update(offset=7),
        lambda raw: raw["files"][0].update(shard="../../etc/passwd"),
        lambda raw: raw.update(files=7),
    ],
)
def test_an_index_that_was_tampered_with_is_refused(folder: Path, tmp_path: Path, change: object) -> None:
    packed(folder, tmp_path / "packed")
    raw = json.loads((tmp_path / "packed" / INDEX).read_bytes())
    assert callable(change)
    change(raw)
    (tmp_path / "packed" / INDEX).write_text(json.dumps(raw))
    with pytest.raises(UsageError, match="not an index to be trusted"):
        open_files(tmp_path / "packed")


@given(
    st.dictionaries(st.text("abcxyz0123", min_size=1, max_size=8), st.binary(max_size=1500), min_size=1, max_size=30)
)
def test_packing_and_reading_back_is_the_identity(contents: dict[str, bytes]) -> None:
    shards = plan_shards(entry_of(path, content) for path, content in contents.items())
    assert decode_index(encode_index(shards)) == shards
    for shard in shards:
        stream = io.BytesIO()
        write_shard(shard, stream, lambda entry: _halves(contents[entry.path]))
        for member in shard.members:
            end = member.offset + member.entry.size_bytes
            assert stream.getvalue()[member.offset : end] == contents[member.entry.path]


def _halves(content: bytes) -> Iterator[bytes]:
    yield content[: len(content) // 2]
    yield content[len(content) // 2 :]
