"""Files that are long in coming: read several at a time, and nobody can tell but by the clock."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest
import torch

from tests.support.training import small_folder
from training.pictures.ahead import IN_FLIGHT, read_ahead
from training.pictures.config import Pictures
from training.pictures.folder import read_image_folder, read_tree
from training.pictures.tree import Tree, open_tree
from trimtab.errors import UsageError

GREY = Pictures(side=8, channels=1, unreadable="stop")
SKIPPING = Pictures(side=8, channels=1, unreadable="skip")


class Counting:
    """Counts how many reads are under way at once, each of which takes a while: the first of eight the longest."""

    def __init__(self) -> None:
        self.begun = self.most = self._now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.begun += 1
            self._now += 1
            self.most = max(self.most, self._now)
            while_s = 0.001 * (8 - self.begun % 8)
        time.sleep(while_s)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._now -= 1


class SlowTree:
    """A tree whose contents take a while, as through a network."""

    def __init__(self, tree: Tree) -> None:
        self._tree, self.reads = tree, Counting()

    def classes(self, split: str) -> Mapping[str, tuple[str, ...]]:
        return self._tree.classes(split)

    def content(self, path: str) -> bytes:
        with self.reads:
            return self._tree.content(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_folder(tmp_path / "digits")


def test_a_slow_tree_is_read_many_files_at_a_time_and_is_the_same_data(folder: Path) -> None:
    tree = SlowTree(open_tree(folder))
    slow, plain = read_tree(tree, folder, GREY), read_image_folder(folder, GREY)
    assert tree.reads.begun == 84
    assert 1 < tree.reads.most <= IN_FLIGHT
    assert (slow.sha256, slow.classes, slow.leaked) == (plain.sha256, plain.classes, plain.leaked)
    for split in ("train", "val", "test"):
        assert torch.equal(getattr(slow, split).pictures, getattr(plain, split).pictures)
        assert torch.equal(getattr(slow, split).labels, getattr(plain, split).labels)


def spoil(folder: Path) -> None:
    """Make the first file one that is slow and fails when it is decoded, and the next ones fail when they are read."""
    place = folder / "train" / "1"
    (place / "0-half.png").write_bytes(b"half")
    (place / "1-empty.png").touch()
    (place / "2-notes.txt").write_text("x")
    (place / "3-nowhere.png").symlink_to("missing")


def test_the_first_file_that_is_wrong_is_named_whichever_was_read_first(folder: Path) -> None:
    spoil(folder)
    tree = SlowTree(open_tree(folder))
    with pytest.raises(UsageError, match=r"0-half\.png cannot be used"):
        read_tree(tree, folder, GREY)
    assert tree.reads.begun <= 21 + IN_FLIGHT  # 20 sound ones before it


def test_what_is_skipped_is_listed_in_the_order_of_the_paths(folder: Path) -> None:
    spoil(folder)
    slow = read_tree(SlowTree(open_tree(folder)), folder, SKIPPING)
    assert slow.left_out == read_image_folder(folder, SKIPPING).left_out
    assert [item.path[8:9] for item in slow.left_out] == ["0", "1", "2", "3"]


def test_no_more_is_read_than_may_wait_until_it_is_taken() -> None:
    begun: list[int] = []
    with closing(read_ahead(begun.append, range(100), in_flight=4)) as reading:
        next(reading)
        deadline = time.monotonic() + 10
        while len(begun) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(0.02)
        assert sorted(begun) == [0, 1, 2, 3, 4]
        assert [read.result() for read in reading] == [None] * 99
    assert sorted(begun) == list(range(100))


def test_what_a_read_raises_is_raised_in_its_turn_and_the_rest_goes_on() -> None:
    def result(read: Future[float]) -> float | str:
        try:
            return read.result()
        except ZeroDivisionError as error:
            return str(error)

    assert [result(read) for read in read_ahead(lambda number: 1 / number, (1, 0, 2, 0))] == [
        1.0, "division by zero", 0.5, "division by zero",
    ]  # fmt: skip
    assert list(read_ahead(str, ())) == []


def test_no_thread_stays_when_all_is_read_or_it_is_left_early() -> None:
    with closing(read_ahead(str, range(50))) as reading:
        next(reading)
    assert len(list(read_ahead(str, range(50)))) == 50
    deadline = time.monotonic() + 10
    while any(thread.name == "read-ahead" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.001)


HANGING = """
import signal
import threading
from contextlib import closing
from training.pictures.ahead import read_ahead

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background program would ignore it
with closing(read_ahead(lambda number: number and threading.Event().wait(), range(100))) as reading:
    for read in reading:
        print(read.result(), flush=True)
"""


def test_a_network_that_answers_no_more_keeps_no_process_from_being_interrupted(root: Path) -> None:
    argv = (sys.executable, "-c", HANGING)
    with subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in said
