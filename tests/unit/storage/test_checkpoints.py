"""A run's checkpoints, on a real directory, each stage of damage done by hand."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, BinaryIO

import pytest

from trimtab.errors import BudgetError, ProgramError, UsageError
from trimtab.storage.checkpoints import MANIFEST, CheckpointStore, open_store, pin, published, unpin
from trimtab.storage.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEEP_ALL = Retention(keep_last=99)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CheckpointStore]:
    with open_store(tmp_path / "run", run_id="r1", retention=KEEP_ALL) as opened:
        yield opened


def content(text: str) -> dict[str, Callable[[BinaryIO], object]]:
    return {"state": lambda stream: stream.write(text.encode()), "more": lambda stream: stream.write(b"more")}


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.directory.iterdir())


def test_a_saved_checkpoint_is_found_with_its_files_and_metrics(store: CheckpointStore) -> None:
    store.save(120, content("a"), metrics={"loss": 0.1 + 0.2})
    newest = store.newest_complete()
    assert newest is not None
    assert (newest.step, newest.metrics, newest.path.name) == (120, {"loss": 0.1 + 0.2}, "step-000000120")
    assert (newest.path / "state").read_text() == "a"
    assert [entry.path for entry in newest.files] == ["more", "state"]
    assert names(store) == ["CHECKPOINTS.json", "step-000000120"]


def test_an_empty_directory_has_no_newest_checkpoint(store: CheckpointStore) -> None:
    assert store.newest_complete() is None
    assert published(store.directory / "missing") == ()


def test_steps_beyond_nine_digits_stay_in_order(store: CheckpointStore) -> None:
    for step in (999_999_999, 1_000_000_000):
        store.save(step, content("a"))
    assert [item.step for item in store.checkpoints()] == [999_999_999, 1_000_000_000]
    newest = store.newest_complete()
    assert newest is not None
    assert newest.step == 1_000_000_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "state").write_bytes(b"b"),
        lambda path: (path / "state").write_bytes(b""),
        lambda path: (path / "state").unlink(),
        lambda path: (path / MANIFEST).unlink(),
        lambda path: (path / MANIFEST).write_bytes((path / MANIFEST).read_bytes()[:-30]),
        lambda path: (path / MANIFEST).write_bytes((path / MANIFEST).read_bytes().replace(b"0.5", b"0.1")),
        lambda path: (path / MANIFEST).write_bytes(b"[]"),
        lambda path: (path / MANIFEST).write_bytes(b"{}"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_taken(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    notices: list[str] = []
    with open_store(tmp_path / "run", run_id="r1", retention=KEEP_ALL, notice=notices.append) as store:
        for step in (1, 2):
            store.save(step, content("a"), metrics={"loss": 0.5})
        damage(store.directory / "step-000000002")
        newest = store.newest_complete()
        assert newest is not None
        assert newest.step == 1
        assert names(store) == ["CHECKPOINTS.json", "step-000000001", "step-000000002.broken"]
        assert "step-000000002.broken" in notices[0]
        store.save(2, content("again"), metrics={"loss": 0.5})  # the step is free again
        damage(store.directory / "step-000000002")
        store.newest_complete()
        assert sum(name.endswith(".broken") for name in names(store)) == 2


def test_a_checkpoint_under_another_steps_name_is_not_trusted(store: CheckpointStore) -> None:
    checkpoint = store.save(1, content("a"))
    checkpoint.path.rename(checkpoint.path.with_name("step-000000009"))
    assert store.newest_complete() is None


def test_a_read_error_is_raised_and_renames_nothing(store: CheckpointStore) -> None:
    checkpoint = store.save(1, content("a"))
    (checkpoint.path / MANIFEST).unlink()
    (checkpoint.path / MANIFEST).mkdir()  # what the system refuses to read, also to root
    with pytest.raises(ProgramError, match="could not be read"):
        store.newest_complete()
    assert names(store) == ["CHECKPOINTS.json", "step-000000001"]


def test_readers_ignore_what_is_not_complete(store: CheckpointStore) -> None:
    store.save(1, content("a"))
    (store.directory / ".saving-step-000000002-0123456789abcdef").mkdir()
    (store.directory / "step-000000003").mkdir()
    (store.directory / "step-4").mkdir()
    (store.directory / "step-000000005").write_text("a file")
    assert [item.step for item in published(store.directory)] == [1]


def test_the_debris_of_killed_writers_is_removed_at_the_next_save_and_nothing_else_is(store: CheckpointStore) -> None:
    for name in (".saving-step-000000002-0123456789abcdef", ".removing-step-000000001-0123456789abcdef"):
        (store.directory / name).mkdir()
        (store.directory / name / "state").write_text("half")
    others = [".saving-step-2-mine", ".saving-step-000000002-0123456789abcdeX", "notes.txt", ".removing"]
    for name in others:
        (store.directory / name).write_text("")
    store.save(3, content("a"))
    assert names(store) == sorted([*others, "CHECKPOINTS.json", "step-000000003"])


def test_a_step_is_written_once(store: CheckpointStore) -> None:
    store.save(1, content("a"))
    with pytest.raises(UsageError, match="already there"):
        store.save(1, content("b"))
    assert (store.directory / "step-000000001" / "state").read_text() == "a"


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), BudgetError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), BudgetError),
        (OSError(errno.EIO, "Input/output error"), ProgramError),
        (ValueError("cannot be serialised"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_failed_save_leaves_what_was_there_and_nothing_more(
    store: CheckpointStore, error: BaseException, raised: type[BaseException]
) -> None:
    store.save(1, content("a"))

    def fail(stream: BinaryIO) -> None:
        stream.write(b"half")
        raise error

    with pytest.raises(raised):
        store.save(2, {"state": fail})
    assert names(store) == ["CHECKPOINTS.json", "step-000000001"]


def test_the_policy_removes_and_keeps_the_last_the_best_and_the_pinned(tmp_path: Path) -> None:
    policy = Retention(keep_last=2, metric="loss", greater_is_better=False)
    with open_store(tmp_path / "run", run_id="r1", retention=policy) as store:
        for step, loss in ((1, 0.3), (2, 0.1), (3, 0.4), (4, 0.5), (5, 0.6), (6, 0.7)):
            checkpoint = store.save(step, content("a"), metrics={"loss": loss})
            if step == 3:
                pin(checkpoint)
        assert [item.step for item in store.checkpoints()] == [2, 3, 5, 6]
        unpin(store.checkpoints()[1])
        store.save(7, content("a"), metrics={"loss": float("nan")})
        assert [item.step for item in store.checkpoints()] == [2, 6, 7]
        assert store.checkpoints()[-1].metrics == {}


def test_nothing_is_removed_before_the_new_one_is_committed(tmp_path: Path) -> None:
    commits: list[list[str]] = []

    def commit() -> None:
        commits.append(sorted(path.name for path in (tmp_path / "run").glob("step-*")))
        if len(commits) == 2:
            raise ConnectionError("the volume is away")

    with open_store(tmp_path / "run", run_id="r1", retention=Retention(keep_last=1), commit=commit) as store:
        store.save(1, content("a"))
        with pytest.raises(ProgramError, match="commit failed") as caught:
            store.save(2, content("a"))
        assert "the volume is away" in caught.value.why
        assert commits == [["step-000000001"], ["step-000000001", "step-000000002"]]
        assert [item.step for item in store.checkpoints()] == [1, 2]
        store.save(3, content("a"))
        assert [item.step for item in store.checkpoints()] == [3]


def test_what_does_not_read_back_as_written_is_set_aside_and_nothing_is_removed(tmp_path: Path) -> None:
    def damage_what_was_published() -> None:  # a commit is what runs between publication and verification
        for path in (tmp_path / "run").glob("step-000000002/state"):
            path.write_bytes(b"bits that the disk made up")

    hook = damage_what_was_published
    with open_store(tmp_path / "run", run_id="r1", retention=Retention(keep_last=1), commit=hook) as store:
        store.save(1, content("a"))
        with pytest.raises(ProgramError, match="does not read back"):
            store.save(2, content("a"))
        assert names(store) == ["CHECKPOINTS.json", "step-000000001", "step-000000002.broken"]


def test_a_directory_with_something_else_in_it_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with (
        pytest.raises(UsageError, match="not a directory of checkpoints") as caught,
        open_store(tmp_path, run_id="r1", retention=KEEP_ALL),
    ):
        pass
    assert "thesis.txt" in caught.value.why
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "mark", [b"", b"{", b"[]", json.dumps({"format": "trimtab-checkpoint/1", "run_id": "r2"}).encode()]
)
def test_another_runs_directory_is_refused(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "CHECKPOINTS.json").write_bytes(mark)
    with pytest.raises(UsageError, match="does not belong"), open_store(tmp_path, run_id="r1", retention=KEEP_ALL):
        pass


def test_a_directory_whose_writer_was_killed_before_it_was_marked_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".CHECKPOINTS.json.part").write_bytes(b"{")
    with open_store(tmp_path, run_id="r1", retention=KEEP_ALL) as store:
        store.save(1, content("a"))
    with open_store(tmp_path, run_id="r1", retention=KEEP_ALL) as store:
        assert [item.step for item in store.checkpoints()] == [1]


def test_a_run_has_one_writer_at_a_time(store: CheckpointStore) -> None:
    with (
        pytest.raises(UsageError, match="another process"),
        open_store(store.directory, run_id="r1", retention=KEEP_ALL),
    ):
        pass


def test_a_file_in_place_of_the_results_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with (
        pytest.raises(ProgramError, match="results"),
        open_store(tmp_path / "results" / "r1", run_id="r1", retention=KEEP_ALL),
    ):
        pass
