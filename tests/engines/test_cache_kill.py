"""A data set's cache under kill -9 at random moments, and against every kind of damage. Real processes, real requests.

The full form kills 50 times among 4,000 files: TRIMTAB_CACHE_KILLS=50 TRIMTAB_CACHE_FILES=4000.
"""

from __future__ import annotations

import hashlib
import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.engines.killing import nursery
from tests.support.object_server import BUCKET, ObjectServer, client_of, object_server
from trimtab.errors import ProgramError
from trimtab.storage import fetching
from trimtab.storage.caches import materialise
from trimtab.storage.datasets import push
from trimtab.storage.folders import MANIFEST, encode_manifest
from trimtab.storage.manifests import FileEntry, digest
from trimtab.storage.objects import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLS = int(os.environ.get("TRIMTAB_CACHE_KILLS", "8"))
FILES = int(os.environ.get("TRIMTAB_CACHE_FILES", "400"))
PREFIX = "datasets/pictures/"
PLACE = Place(bucket=BUCKET, prefix=PREFIX)
LARGE = fetching.LARGE_BYTES + fetching.PIECE_BYTES // 2


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as running:
        yield running


def fill(server: ObjectServer, contents: dict[str, bytes]) -> tuple[FileEntry, ...]:
    """Put a whole data set into the bucket, as a push leaves it."""
    for path, content in contents.items():
        server.put(PREFIX + path, content)
    entries = tuple(
        sorted(
            FileEntry(path=path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
            for path, content in contents.items()
        )
    )
    server.put(PREFIX + MANIFEST, encode_manifest(entries))
    return entries


def chance(seed: int) -> random.Random:
    """Return what looks random and is the same in every run."""
    return random.Random(seed)  # noqa: S311 - nothing here is secret


def flip(content: bytes, position: int) -> bytes:
    """Return the same with one bit of one byte changed."""
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def small_files(count: int) -> dict[str, bytes]:
    source = chance(7)
    names = (f"train/{number % 10}/{number:05d}.bin" for number in range(count))
    return {name: source.randbytes(source.randrange(20_000)) for name in names}


def contents_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_killed_at_random_again_and_again_it_ends_complete_verified_and_without_debris(
    server: ObjectServer, tmp_path: Path, root: Path
) -> None:
    contents = {**small_files(FILES), "large.bin": chance(8).randbytes(LARGE)}
    sha256 = digest(fill(server, contents))
    cache, output, moments = tmp_path / "cache", tmp_path / "said", chance(9)
    arguments = ("tests.engines.cache_child:fetch", server.endpoint, PREFIX, str(cache))
    kept = 0
    with nursery(root, "tests.engines.cache_child") as children:
        for _ in range(KILLS):
            after = moments.randrange(2 * FILES // KILLS)
            code = children.kill(*arguments, output=output, after_lines=after, then_s=moments.random() * 0.02)
            assert code in (-9, 0)
            if (cache / sha256).exists():
                assert contents_of(cache / sha256) == contents
                continue
            there = contents_of(cache / f".partial-{sha256}") if (cache / f".partial-{sha256}").is_dir() else {}
            whole = sum(there[path] == content for path, content in contents.items() if path in there)
            assert set(there) <= set(contents)
            assert whole >= kept
            kept = whole
        assert children.run(*arguments, output=output) == 0, output.read_text()[-2000:]
        fetched = server.asked["get"]
        assert children.run(*arguments, output=output) == 0
    assert contents_of(cache / sha256) == contents
    assert sorted(path.name for path in cache.iterdir()) == sorted(["CACHE.json", sha256, f"{sha256}.json"])
    assert server.asked["get"] == fetched + 1  # the manifest
    # Nothing that was there came again: what a kill costs is what was under way, and the last piece of the large file.
    assert fetched <= len(contents) + 5 + (KILLS + 1) * (1 + 10 + 1)
    assert server.asked["list"] == 0


def test_a_directory_is_listed_once_when_it_is_pushed_and_never_when_it_is_fetched(
    server: ObjectServer, tmp_path: Path
) -> None:
    for path, content in small_files(30).items():
        (tmp_path / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / path).write_bytes(content)
    client = client_of(server.endpoint)
    push(client, tmp_path / "data", PLACE)
    pushed = {"list": 1, "put": 32, "delete": 1}  # thirty files, the manifest, and the lease, which goes again
    assert server.asked == {"get": 1, **pushed}
    materialise(client, PLACE, tmp_path / "cache")
    assert server.asked == {"get": 32, **pushed}
    materialise(client, PLACE, tmp_path / "cache")
    assert server.asked == {"get": 33, **pushed}


def test_a_large_file_comes_in_pieces_and_is_what_it_was(server: ObjectServer, tmp_path: Path) -> None:
    content = chance(1).randbytes(LARGE)
    fill(server, {"large.bin": content, "small.bin": b"small"})
    there = materialise(client_of(server.endpoint), PLACE, tmp_path / "cache")
    assert contents_of(there.path) == {"large.bin": content, "small.bin": b"small"}
    assert server.asked["get"] == 1 + 1 + len(range(0, LARGE, fetching.PIECE_BYTES))


def test_a_journal_that_says_too_much_costs_a_transfer_and_no_byte(server: ObjectServer, tmp_path: Path) -> None:
    content = chance(1).randbytes(LARGE)
    (entry,) = fill(server, {"large.bin": content})
    cache = tmp_path / "cache"
    partial = cache / f".partial-{digest((entry,))}"
    partial.mkdir(parents=True)
    (partial / "large.bin").write_bytes(bytes(LARGE))
    (cache / f"{digest((entry,))}.pieces").write_text("0 large.bin\n2 large.bin\n99 large.bin\nx large.bin\ntorn")
    there = materialise(client_of(server.endpoint), PLACE, cache)
    assert (there.path / "large.bin").read_bytes() == content


@pytest.mark.parametrize("key", ["small.bin", "large.bin"])
def test_a_connection_that_breaks_is_tried_again(server: ObjectServer, tmp_path: Path, key: str) -> None:
    contents = {"small.bin": b"small" * 1000, "large.bin": chance(1).randbytes(LARGE)}
    fill(server, contents)
    server.cut_after[PREFIX + key] = 1000
    there = materialise(client_of(server.endpoint), PLACE, tmp_path / "cache")
    assert contents_of(there.path) == contents


def test_a_flipped_a_truncated_and_a_missing_object_are_all_named_and_the_rest_is_there(
    server: ObjectServer, tmp_path: Path
) -> None:
    contents = {**small_files(40), "large.bin": chance(1).randbytes(LARGE)}
    entries = fill(server, contents)
    flipped, truncated, missing = [path for path, content in contents.items() if len(content) > 9][:3]
    server.objects[PREFIX + flipped] = flip(contents[flipped], 0)
    server.objects[PREFIX + truncated] = contents[truncated][:-1]
    del server.objects[PREFIX + missing]
    with pytest.raises(ProgramError) as caught:
        materialise(client_of(server.endpoint), PLACE, tmp_path / "cache")
    assert "3 objects" in caught.value.what
    assert f"{flipped} has another checksum" in caught.value.why
    assert f"{truncated} has {len(contents[truncated]) - 1} bytes, not {len(contents[truncated])}" in caught.value.why
    assert f"{missing} is missing" in caught.value.why
    there = contents_of(tmp_path / "cache" / f".partial-{digest(entries)}")
    assert there == {path: content for path, content in contents.items() if path not in (flipped, truncated, missing)}
    for path in (flipped, truncated, missing):
        server.put(PREFIX + path, contents[path])
    before = server.asked["get"]
    assert contents_of(materialise(client_of(server.endpoint), PLACE, tmp_path / "cache").path) == contents
    assert server.asked["get"] - before == 4  # the manifest, and the three


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_large_object_is_named(server: ObjectServer, tmp_path: Path, damage: str) -> None:
    content = chance(1).randbytes(LARGE)
    fill(server, {"large.bin": content})
    if damage == "missing":
        del server.objects[f"{PREFIX}large.bin"]
    else:
        changed = content[:-1] if damage == "truncated" else flip(content, 70_000_000)
        server.objects[f"{PREFIX}large.bin"] = changed
    with pytest.raises(ProgramError, match=r"large\.bin is not what the manifest says"):
        materialise(client_of(server.endpoint), PLACE, tmp_path / "cache")
