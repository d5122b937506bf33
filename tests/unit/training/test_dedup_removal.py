"""Copies are moved only when asked, only as the run saw them, and they come back."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from training.dedup.removal import UNDO, main, read_list, remove, undo
from trimtab.errors import UsageError

CONTENTS = {"test/a.png": b"same", "train/a.png": b"same", "train/b.png": b"like it", "train/c.png": b"alone"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    for path, content in CONTENTS.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return directory


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Return a list in which test/a.png stays for train/a.png and train/b.png."""

    def file(path: str) -> dict[str, str]:
        return {"path": path, "sha256": sha256(CONTENTS[path]).hexdigest()}

    cluster = {"keep": file("test/a.png"), "remove": [file("train/a.png"), file("train/b.png")]}
    path = tmp_path / "duplicates.json"
    path.write_text(json.dumps({"format": "trimtab-duplicates/1", "clusters": [cluster]}))
    return path


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_copies_are_moved_to_the_same_paths_and_come_back(tmp_path: Path, data: Path, listed: Path) -> None:
    to = tmp_path / "copies"
    assert main(["--list", str(listed), "--data", str(data), "--to", str(to)]) == 0
    assert set(tree(data)) == {"test/a.png", "train/c.png"}
    assert {name for name in tree(to) if name != UNDO} == {"train/a.png", "train/b.png"}
    assert main(["--undo", str(to)]) == 0
    assert tree(data) == CONTENTS
    assert set(tree(to)) == {UNDO}
    assert main(["--undo", str(to)]) == 0


def test_a_dry_run_moves_and_makes_nothing(
    tmp_path: Path, data: Path, listed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--list", str(listed), "--data", str(data), "--to", str(tmp_path / "copies"), "--dry-run", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == {"moved": 2, "moved_before": 0, "left": [], "dry_run": True}
    assert tree(data) == CONTENTS
    assert not (tmp_path / "copies").exists()


def test_the_same_command_again_does_nothing_and_says_so(tmp_path: Path, data: Path, listed: Path) -> None:
    copies = read_list(listed)
    assert remove(copies, data, tmp_path / "copies").moved == 2
    again = remove(copies, data, tmp_path / "copies")
    assert (again.moved, again.before, again.left) == (0, 2, ())


def test_what_is_not_as_the_run_saw_it_is_left_and_named(tmp_path: Path, data: Path, listed: Path) -> None:
    (data / "train/b.png").write_bytes(b"edited since")
    found = remove(read_list(listed), data, tmp_path / "copies")
    assert (found.moved, found.left) == (1, ("train/b.png: it is not what the run saw",))
    assert tree(data)["train/b.png"] == b"edited since"


@pytest.mark.parametrize("becomes", [None, b"another"])
def test_no_copy_goes_when_the_one_that_stays_is_gone_or_another(
    tmp_path: Path, data: Path, listed: Path, becomes: bytes | None
) -> None:
    (data / "test/a.png").unlink()
    if becomes:
        (data / "test/a.png").write_bytes(becomes)
    assert main(["--list", str(listed), "--data", str(data), "--to", str(tmp_path / "copies")]) == 5
    assert {"train/a.png", "train/b.png"} <= set(tree(data))
    assert not (tmp_path / "copies").exists()


@pytest.mark.parametrize("between", ["files", "names"])
def test_a_move_that_was_killed_in_between_is_gone_on_with_or_undone(
    tmp_path: Path, data: Path, listed: Path, between: str
) -> None:
    """Between its two halves a file has both names; before them, undo.json names what did not move yet."""
    to = tmp_path / "copies"
    remove(read_list(listed), data, to)
    if between == "names":
        os.link(to / "train/a.png", data / "train/a.png")
    else:
        (to / "train/a.png").rename(data / "train/a.png")
    assert remove(read_list(listed), data, to).left == ()
    assert set(tree(data)) == {"test/a.png", "train/c.png"}
    if between == "names":
        os.link(to / "train/a.png", data / "train/a.png")
    assert undo(to).left == ()
    assert tree(data) == CONTENTS


def test_undo_replaces_nothing_that_came_in_the_meantime(tmp_path: Path, data: Path, listed: Path) -> None:
    to = tmp_path / "copies"
    remove(read_list(listed), data, to)
    (data / "train/a.png").write_bytes(b"new")
    found = undo(to)
    assert (found.moved, len(found.left)) == (1, 1)
    assert tree(data)["train/a.png"] == b"new"
    assert tree(to)["train/a.png"] == b"same"


@pytest.mark.parametrize("path", ["../out.png", "/etc/passwd", "train/../../out.png", "train\\a.png", ""])
def test_a_list_whose_paths_leave_the_data_is_refused(tmp_path: Path, data: Path, path: str) -> None:
    file = {"path": path, "sha256": "0" * 64}
    forged = tmp_path / "forged.json"
    clusters = [{"keep": {"path": "test/a.png", "sha256": "0" * 64}, "remove": [file]}]
    forged.write_text(json.dumps({"format": "trimtab-duplicates/1", "clusters": clusters}))
    with pytest.raises(UsageError):
        read_list(forged)
    folder = tmp_path / "copies"
    folder.mkdir()
    (folder / UNDO).write_text(json.dumps({"format": "trimtab-removal/1", "data": str(data), "paths": [path]}))
    with pytest.raises(UsageError):
        undo(folder)


def test_a_folder_that_became_a_link_is_not_followed(tmp_path: Path, data: Path, listed: Path) -> None:
    (data / "train").rename(tmp_path / "elsewhere")
    (data / "train").symlink_to(tmp_path / "elsewhere")
    found = remove(read_list(listed), data, tmp_path / "copies")
    assert (found.moved, len(found.left)) == (0, 2)
    assert set(tree(tmp_path / "elsewhere")) == {"a.png", "b.png", "c.png"}


@pytest.mark.parametrize("place", ["data/copies", "data", "."])
def test_a_folder_in_or_around_the_data_cannot_take_the_copies(
    tmp_path: Path, data: Path, listed: Path, place: str
) -> None:
    with pytest.raises(UsageError, match="cannot take the copies"):
        remove(read_list(listed), data, tmp_path / place)
    assert tree(data) == CONTENTS


def test_a_folder_that_holds_something_else_cannot_take_the_copies(tmp_path: Path, data: Path, listed: Path) -> None:
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies/mine.txt").touch()
    with pytest.raises(UsageError, match="something else") as caught:
        remove(read_list(listed), data, tmp_path / "copies")
    assert tree(data) == CONTENTS
    assert caught.value.remedy


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "trimtab-duplicates/1"}', "[" * 100_000])
def test_what_is_no_list_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="cannot be used"):
        read_list(path)


def test_wrong_arguments_are_said_and_change_nothing(
    tmp_path: Path, data: Path, listed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--list", str(listed)], ["--undo", str(tmp_path), "--dry-run"], []):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
    assert main(["--list", str(listed), "--data", str(tmp_path / "nowhere"), "--to", str(tmp_path / "copies")]) == 2
    assert main(["--undo", str(tmp_path / "nowhere")]) == 2
    assert "next: " in capsys.readouterr().err
    assert tree(data) == CONTENTS
