"""Files that are whole or not there."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from trimtab.errors import ProgramError, UsageError
from trimtab.storage.durable import make_directory, new_directory, sole_writer, write_whole

if TYPE_CHECKING:
    from pathlib import Path


def test_a_written_file_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "record.json", b"old")
    write_whole(tmp_path / "record.json", b"new")
    assert (tmp_path / "record.json").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".record.json.part").write_bytes(b"half of something long")
    write_whole(tmp_path / "record.json", b"new")
    assert (tmp_path / "record.json").read_bytes() == b"new"
    assert not (tmp_path / ".record.json.part").exists()


def test_a_refused_write_keeps_the_old_file_and_says_why(tmp_path: Path) -> None:
    write_whole(tmp_path / "record.json", b"old")
    (tmp_path / ".record.json.part").mkdir()
    with pytest.raises(ProgramError) as caught:
        write_whole(tmp_path / "record.json", b"new")
    assert "record.json was not written" in caught.value.what
    assert (tmp_path / "record.json").read_bytes() == b"old"


def test_directories_are_made_with_their_parents_and_again_without_a_word(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b" / "c")
    make_directory(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_directory_below_a_file_cannot_be_made_and_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ProgramError, match="was not made"):
        make_directory(tmp_path / "file" / "below")


def test_a_directory_has_one_writer_at_a_time(tmp_path: Path) -> None:
    with sole_writer(tmp_path), pytest.raises(UsageError, match="another process"), sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):
        pass


def test_a_writer_of_what_is_no_directory_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ProgramError, match="file was not opened"), sole_writer(tmp_path / "file"):
        pass


def test_a_directory_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def break_off(directory: Path) -> None:
        (directory / "half").write_bytes(b"half")
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(ProgramError, match="made was not written"), new_directory(tmp_path / "made") as directory:
        break_off(directory)
    assert list(tmp_path.iterdir()) == []
    with new_directory(tmp_path / "made") as directory:
        (directory / "whole").write_bytes(b"whole")
        assert not (tmp_path / "made").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["made", "made/whole"]
