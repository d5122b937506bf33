"""Which paths may be laid out, and when two sets of files have one digest."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.storage.folders import decode_manifest
from trimtab.storage.manifests import FileEntry, digest, parse_entries, path_problems, sha256_of
from trimtab.storage.shards import decode_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

entries = st.builds(
    FileEntry,
    path=st.sampled_from(["a", "b", "c/d", "c/e", "ä"]),
    size_bytes=st.integers(0, 3),
    sha256=st.sampled_from([SHA256, SHA256[::-1]]),
)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("../x", "`..`"),
        ("a/../b", "`..`"),
        ("a/./b", "`.`"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("a\\b", "backslash"),
        ("..\\x", "backslash"),
        ("a\x00b", "control character"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("a\x85b", "control character"),
        ("a\ud800b", "control character"),
        ("a/" * 513 + "a", "longer than 1024"),
        ("ä" * 128, "longer than 255"),
    ],
)
def test_a_path_that_could_leave_the_directory_or_not_exist_is_refused(path: str, problem: str) -> None:
    (said,) = path_problems([path])
    assert problem in said


@pytest.mark.parametrize(
    "paths",
    [
        ["Train/a.png", "train/b.png"],
        ["a/X.png", "a/x.png"],
        ["straße", "STRASSE"],
        ["\u00e9.png", "e\u0301.png"],
        ["a", "a"],
        ["a", "a/b"],
        ["a/b", "a"],
    ],
)
def test_paths_that_collide_on_some_file_system_are_refused(paths: list[str]) -> None:
    assert path_problems(paths)


def test_ordinary_paths_are_accepted() -> None:
    assert path_problems(["train/0/0001.png", "train/1/x y.png", "ärger/ñ.png", "a-b/c", "a.b", "..a", "a.."]) == ()


@given(st.lists(st.text(max_size=12), max_size=6))
@example(["İ", "i̇"])
def test_whatever_is_accepted_can_be_laid_out_where_case_and_accents_do_not_count(paths: list[str]) -> None:
    if path_problems(paths):
        return
    laid_out: dict[
        str, str | None
    ] = {}  # of each name as such a file system sees it -> the file there; None: a directory
    for path in paths:
        segments = path.split("/")
        assert all(segment not in ("", ".", "..") for segment in segments)
        assert "\\" not in path
        for depth in range(1, len(segments) + 1):
            name = unicodedata.normalize("NFC", "/".join(segments[:depth]).lower())
            is_file = depth == len(segments)
            assert name not in laid_out or (laid_out[name] is None and not is_file)
            laid_out[name] = path if is_file else None


@given(st.lists(entries), st.randoms())
def test_the_digest_does_not_depend_on_the_order(files: list[FileEntry], random: object) -> None:
    shuffled = list(files)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a Random
    assert digest(shuffled) == digest(files)


@given(st.sets(entries), st.sets(entries))
def test_two_sets_of_files_have_one_digest_exactly_when_they_are_the_same(
    one: set[FileEntry], other: set[FileEntry]
) -> None:
    assert (digest(one) == digest(other)) == (one == other)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        "files",
        [1],
        [{"path": "a", "size_bytes": 1}],
        [{"path": "a", "size_bytes": -1, "sha256": SHA256}],
        [{"path": "a", "size_bytes": "1", "sha256": SHA256}],
        [{"path": "a", "size_bytes": 1, "sha256": SHA256.upper()}],
        [{"path": "a", "size_bytes": 1, "sha256": "abc"}],
        [{"path": "../a", "size_bytes": 1, "sha256": SHA256}],
        [{"path": "a", "size_bytes": 1, "sha256": SHA256}] * 2,
    ],
)
def test_entries_that_are_none_are_refused(raw: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_entries(raw)


def test_entries_survive_their_json_and_come_back_sorted() -> None:
    files = [FileEntry(path=path, size_bytes=1, sha256=SHA256) for path in ("b", "a")]
    assert parse_entries([entry.as_json() for entry in files]) == tuple(sorted(files))


def test_the_checksum_is_that_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of(tmp_path / "empty") == SHA256


@pytest.mark.parametrize("value", [b"[]", b"{}", b"1", b'""'])
@pytest.mark.parametrize("decode", [decode_manifest, decode_index])
def test_a_manifest_that_would_unfold_to_gigabytes_is_refused_before_it_is_decoded(
    decode: Callable[[bytes], object], value: bytes
) -> None:
    content = b'{"files": [' + (value + b",") * 8_000_001 + value + b"]}"
    with pytest.raises(ValueError, match="more than 8000000 values"):
        decode(content)
