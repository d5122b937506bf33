"""Volumes: what is committed, what each attempt sees, and what is really gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from trimtab.emulation.modal.attempt import VolumeBusyError
from trimtab.emulation.modal.volumes import OPEN_FILES, DirectoryVolumes
from trimtab.errors import UsageError

T = TypeVar("T")


def now(call: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(call)


class Tides:
    """One Volume, and views of it by name."""

    def __init__(self, root: Path) -> None:
        self.volumes, self.root = DirectoryVolumes(root / "volumes"), root
        now(self.volumes.create("vo-1"))

    def view(self, task: str, *, read_only: bool = False) -> Path:
        path = self.root / "views" / task
        now(self.volumes.attach(task, "vo-1", path, read_only=read_only))
        return path

    def commit(self, task: str) -> None:
        now(self.volumes.commit(task, "vo-1"))

    def reload(self, task: str) -> None:
        now(self.volumes.reload(task, "vo-1"))

    def committed(self) -> dict[str, str]:
        found = now(self.volumes.entries("vo-1", "/", recursive=True))
        files = [entry.path for entry in found if not entry.is_dir]
        return {path: now(self.volumes.open_file("vo-1", path)).read_text() for path in files}


@pytest.fixture
def tides(tmp_path: Path) -> Tides:
    return Tides(tmp_path)


def test_what_is_not_committed_is_gone_with_its_attempt(tides: Tides) -> None:
    one = tides.view("one")
    (one / "kept").write_text("1")
    tides.commit("one")
    (one / "lost").write_text("2")
    now(tides.volumes.detach("one"))
    assert not one.exists()
    assert tides.committed() == {"kept": "1"}
    assert sorted(path.name for path in tides.view("two").iterdir()) == ["kept"]


def test_another_attempt_sees_a_commit_after_its_reload_and_not_before(tides: Tides) -> None:
    one, two = tides.view("one"), tides.view("two")
    (one / "deep").mkdir()
    (one / "deep" / "file").write_text("1")
    tides.commit("one")
    assert not list(two.iterdir())
    tides.reload("two")
    assert (two / "deep" / "file").read_text() == "1"


def test_the_last_writer_of_a_file_wins_and_other_files_stay(tides: Tides) -> None:
    one, two = tides.view("one"), tides.view("two")
    (one / "both").write_text("of one")
    (one / "mine").write_text("of one")
    (two / "both").write_text("of two")
    tides.commit("one")
    tides.commit("two")
    assert tides.committed() == {"both": "of two", "mine": "of one"}


def test_a_commit_does_not_bring_back_what_others_replaced_or_removed(tides: Tides) -> None:
    first = tides.view("first")
    for name in ("replaced", "removed"):
        (first / name).write_text("old")
    tides.commit("first")
    one, two = tides.view("one"), tides.view("two")
    (one / "replaced").write_text("new")
    (one / "removed").unlink()
    tides.commit("one")
    (two / "more").write_text("2")
    tides.commit("two")
    assert tides.committed() == {"replaced": "new", "more": "2"}


def test_a_reload_keeps_what_the_attempt_wrote_and_takes_away_what_others_removed(tides: Tides) -> None:
    first = tides.view("first")
    (first / "folder").mkdir()
    (first / "folder" / "old").write_text("old")
    tides.commit("first")
    one, two = tides.view("one"), tides.view("two")
    (one / "folder" / "old").unlink()
    (one / "folder").rmdir()
    tides.commit("one")
    (two / "own").write_text("2")
    tides.reload("two")
    assert sorted(path.name for path in two.rglob("*")) == ["own"]
    assert tides.committed() == {"own": "2"}


def test_a_file_written_in_place_after_a_commit_is_committed_again(tides: Tides) -> None:
    one = tides.view("one")
    (one / "log").write_text("aaaa")
    tides.commit("one")
    with (one / "log").open("r+") as stream:
        stream.write("bbbb")  # as long as before, and within the same tick of the clock
    tides.commit("one")
    assert tides.committed() == {"log": "bbbb"}


def test_a_file_that_was_found_can_be_read_though_many_commits_have_come_since(tides: Tides) -> None:
    one = tides.view("one")
    (one / "height").write_text("0")
    tides.commit("one")
    found = now(tides.volumes.open_file("vo-1", "height"))
    for height in range(1, 5):
        (one / "height").write_text(str(height))
        tides.commit("one")
    assert found.read_text() == "0"
    assert tides.committed() == {"height": "4"}


def test_a_file_that_becomes_a_folder_and_back_is_committed_as_that(tides: Tides) -> None:
    one = tides.view("one")
    (one / "thing").write_text("file")
    tides.commit("one")
    (one / "thing").unlink()
    (one / "thing").mkdir()
    (one / "thing" / "below").write_text("folder")
    tides.commit("one")
    assert tides.committed() == {"thing/below": "folder"}


def test_a_reload_with_open_files_fails_as_the_platform_says_and_names_one(tides: Tides) -> None:
    one = tides.view("one")
    (one / "log").write_text("1")
    with (one / "log").open(), pytest.raises(VolumeBusyError) as caught:
        tides.reload("one")
    assert caught.value.what == OPEN_FILES
    assert "log" in caught.value.why
    tides.reload("one")


def test_a_reload_fails_while_a_process_works_inside(tides: Tides) -> None:
    one, before = tides.view("one"), Path.cwd()
    os.chdir(one)
    try:
        with pytest.raises(VolumeBusyError):
            tides.reload("one")
    finally:
        os.chdir(before)


def test_what_is_written_through_a_read_only_mount_is_never_committed(tides: Tides) -> None:
    one = tides.view("one", read_only=True)
    (one / "sneaked").write_text("x")
    tides.commit("one")
    assert tides.committed() == {}


def test_an_empty_folder_and_a_symbolic_link_are_committed(tides: Tides) -> None:
    one = tides.view("one")
    (one / "empty").mkdir()
    (one / "link").symlink_to("/etc/passwd")
    tides.commit("one")
    two = tides.view("two")
    assert (two / "empty").is_dir()
    assert (two / "link").readlink() == Path("/etc/passwd")
    with pytest.raises(FileNotFoundError):  # it is read here, where it leads elsewhere
        now(tides.volumes.open_file("vo-1", "link"))


def test_files_are_put_copied_and_removed_by_hand(tides: Tides, tmp_path: Path) -> None:
    (tmp_path / "local").write_text("put")
    now(tides.volumes.put_file("vo-1", "/a/b/file", tmp_path / "local", 0o640))
    assert now(tides.volumes.open_file("vo-1", "a/b/file")).stat().st_mode & 0o777 == 0o640
    now(tides.volumes.copy("vo-1", ("a",), "c", recursive=True))
    now(tides.volumes.copy("vo-1", ("a/b/file",), "c/b", recursive=False))
    assert tides.committed() == {"a/b/file": "put", "c/b/file": "put"}
    with pytest.raises(IsADirectoryError):
        now(tides.volumes.remove("vo-1", "a", recursive=False))
    now(tides.volumes.remove("vo-1", "a", recursive=True))
    assert tides.committed() == {"c/b/file": "put"}
    with pytest.raises(FileNotFoundError):
        now(tides.volumes.entries("vo-1", "a", recursive=False))
    now(tides.volumes.remove("vo-1", "/", recursive=True))
    assert tides.committed() == {}


def test_putting_a_file_leaves_an_attempt_s_view_alone_until_it_reloads(tides: Tides, tmp_path: Path) -> None:
    (tmp_path / "local").write_text("put")
    one = tides.view("one")
    now(tides.volumes.put_file("vo-1", "file", tmp_path / "local", 0o644))
    assert not list(one.iterdir())
    tides.reload("one")
    assert (one / "file").read_text() == "put"


@pytest.mark.parametrize("path", ["../other", "a/../../b", "a\0b"])
def test_a_path_that_leads_out_of_the_volume_is_refused(tides: Tides, path: str, tmp_path: Path) -> None:
    (tmp_path / "local").write_text("x")
    with pytest.raises(UsageError):
        now(tides.volumes.put_file("vo-1", path, tmp_path / "local", 0o644))


def test_a_pipe_is_no_content(tides: Tides) -> None:
    one = tides.view("one")
    os.mkfifo(one / "pipe")
    (one / "file").write_text("1")
    tides.commit("one")
    assert tides.committed() == {"file": "1"}


def test_volumes_are_found_again_by_another_plane(tides: Tides, tmp_path: Path) -> None:
    one = tides.view("one")
    (one / "kept").write_text("1")
    tides.commit("one")
    again = DirectoryVolumes(tmp_path / "volumes")
    now(again.create("vo-1"))
    assert now(again.open_file("vo-1", "kept")).read_text() == "1"
    now(again.delete("vo-1"))
    assert not (tmp_path / "volumes" / "vo-1").exists()


def test_trees_that_were_superseded_a_while_ago_and_what_a_killed_commit_left_are_tidied_away(tides: Tides) -> None:
    one = tides.view("one")
    for number in range(3):
        (one / "tide").write_text(str(number))
        tides.commit("one")
    versions = tides.root / "volumes" / "vo-1" / "versions"
    (versions / "9").mkdir()
    for tree in versions.iterdir():
        os.utime(tree, (0, 0))
    now(tides.volumes.tidy())
    assert [tree.name for tree in versions.iterdir()] == ["3"]
    assert tides.committed() == {"tide": "2"}
