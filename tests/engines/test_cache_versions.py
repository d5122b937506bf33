"""A data set's cache: what its journal claims, what its other versions lend, and what cannot fit at all."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from tests.engines.test_cache_kill import LARGE, PLACE, PREFIX, chance, fill
from tests.support.object_server import ObjectServer, client_of, object_server
from trimtab.errors import BudgetError
from trimtab.storage import fetching
from trimtab.storage.caches import materialise
from trimtab.storage.folders import MANIFEST, encode_manifest
from trimtab.storage.manifests import FileEntry, digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as running:
        yield running


def test_a_journal_that_claims_every_piece_is_not_believed(server: ObjectServer, tmp_path: Path) -> None:
    content = chance(1).randbytes(LARGE)
    (entry,) = fill(server, {"large.bin": content})
    cache = tmp_path / "cache"
    partial = cache / f".partial-{digest((entry,))}"
    partial.mkdir(parents=True)
    (partial / "large.bin").write_bytes(bytes(LARGE))
    claims = (f"{index} large.bin\n" for index in range(len(range(0, LARGE, fetching.PIECE_BYTES))))
    (cache / f"{digest((entry,))}.pieces").write_text("".join(claims))
    there = materialise(client_of(server.endpoint), PLACE, cache)
    assert (there.path / "large.bin").read_bytes() == content


def test_a_file_that_came_in_pieces_is_read_only_like_the_others(server: ObjectServer, tmp_path: Path) -> None:
    fill(server, {"large.bin": bytes(LARGE), "small.bin": b"small"})
    there = materialise(client_of(server.endpoint), PLACE, tmp_path / "cache")
    assert {stat.S_IMODE(path.stat().st_mode) for path in there.path.iterdir()} == {0o444}


def test_another_version_lends_what_is_as_it_was_verified_and_nothing_else(
    server: ObjectServer, tmp_path: Path
) -> None:
    contents = {"kept.bin": b"herring" * 100, "damaged.bin": b"gull" * 100, "changed.bin": b"tern"}
    fill(server, contents)
    client = client_of(server.endpoint)
    before = materialise(client, PLACE, tmp_path / "cache").path
    (before / "damaged.bin").chmod(0o644)
    (before / "damaged.bin").write_bytes(b"GULL" * 100)
    fill(server, {**contents, "changed.bin": b"another"})
    after = materialise(client, PLACE, tmp_path / "cache")
    assert after.fetched_files == 2
    assert (after.path / "damaged.bin").read_bytes() == contents["damaged.bin"]
    assert (after.path / "kept.bin").samefile(before / "kept.bin")


def test_what_can_never_fit_is_refused_before_a_byte_of_it_comes(server: ObjectServer, tmp_path: Path) -> None:
    entry = FileEntry(path="ocean.bin", size_bytes=10**13, sha256="0" * 64)
    server.put(f"{PREFIX}ocean.bin", b"drop")
    server.put(f"{PREFIX}{MANIFEST}", encode_manifest((entry,)))
    with pytest.raises(BudgetError, match="does not fit"):
        materialise(client_of(server.endpoint), PLACE, tmp_path / "cache")
    assert server.asked["get"] == 1  # the manifest
