"""A run's copy in a bucket: made as it goes, never poorer than its policy, and brought back when all here is gone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.support.fragile import CutOffError, Fragile
from trimtab.errors import UsageError
from trimtab.storage.backups import Abandoned, Backup, restore
from trimtab.storage.checkpoints import CheckpointStore, open_store, pin, published, unpin
from trimtab.storage.prefixes import MountedPrefix
from trimtab.storage.retention import Retention
from trimtab.storage.runs import RunRecord, read_run, write_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = "checkpoints/tides/2026-03-01/r1"
POLICY = Retention(keep_last=2, metric="loss", greater_is_better=False)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def store(results: Path) -> Iterator[CheckpointStore]:
    record = RunRecord(
        job="tides", run_id="r1", run_directory=RUN, commit=None, config={}, config_sha256="0", data_sha256="0"
    ).with_attempt_begun(started=datetime(2026, 3, 1, tzinfo=UTC), first_step=0)
    write_run(results, record)
    with open_store(results / RUN, run_id="r1", retention=POLICY) as opened:
        yield opened


@pytest.fixture
def backup(tmp_path: Path, results: Path) -> Backup:
    bucket = MountedPrefix(tmp_path / "bucket")
    return Backup(prefix=bucket, results=results, run_id="r1", run_directory=RUN, retention=POLICY)


def save(store: CheckpointStore, step: int, loss: float) -> None:
    store.save(step, {"state": lambda stream: stream.write(b"%d" % step)}, metrics={"loss": loss})


def steps(tmp_path: Path, place: str = "bucket") -> list[int]:
    return [item.step for item in published(tmp_path / place / RUN) if item.damage() is None]


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_copy_has_what_is_published_and_loses_what_the_policy_lets_go(
    tmp_path: Path, results: Path, store: CheckpointStore, backup: Backup
) -> None:
    for step, loss in ((1, 0.1), (2, 0.5), (3, 0.6), (4, 0.7)):
        save(store, step, loss)
        (store.directory / "samples").mkdir(exist_ok=True)
        (store.directory / "samples" / f"{step}.png").write_bytes(b"%d" % step)
        backup.copy()
    assert steps(tmp_path) == [1, 3, 4]
    assert files(tmp_path / "bucket") == files(results)


def test_checkpoints_that_no_copy_was_made_of_meanwhile_are_left_out_or_made_up_for(
    tmp_path: Path, store: CheckpointStore, backup: Backup
) -> None:
    save(store, 1, 0.5)
    backup.copy()
    for step in (2, 3, 4, 5):
        save(store, step, 0.1 * step)
    backup.copy()
    assert steps(tmp_path) == steps(tmp_path, "results") == [2, 4, 5]


def test_a_copy_keeps_the_best_though_here_it_is_gone(tmp_path: Path, store: CheckpointStore, backup: Backup) -> None:
    save(store, 1, 0.1)
    backup.copy()
    shutil.rmtree(store.directory / "step-000000001")
    for step in (2, 3, 4):
        save(store, step, 0.5)
        backup.copy()
    assert steps(tmp_path) == [1, 3, 4]


def test_a_pin_is_copied_and_taken_back(tmp_path: Path, store: CheckpointStore, backup: Backup) -> None:
    save(store, 1, 0.9)
    backup.copy()
    pin(store.checkpoints()[0])
    for step in (2, 3, 4):
        save(store, step, 0.5)
        backup.copy()
    assert steps(tmp_path) == [1, 2, 3, 4]
    unpin(store.checkpoints()[0])
    backup.copy()
    assert steps(tmp_path) == [2, 3, 4]


def test_a_copy_that_is_abandoned_anywhere_is_whole_as_far_as_it_is_and_goes_on(
    tmp_path: Path, results: Path, store: CheckpointStore, backup: Backup
) -> None:
    for step in (1, 2):
        save(store, step, 0.5)
    (store.directory / "model.pt").write_bytes(b"weights")
    for patience in range(3):
        asked = iter([False] * patience)
        with pytest.raises(Abandoned):
            backup.copy(lambda left=asked: next(left, True))  # type: ignore[misc]  # a default binds it
        assert len(steps(tmp_path)) == len(published(tmp_path / "bucket" / RUN))
        assert not backup.is_current()
    backup.copy()
    assert backup.is_current()
    assert files(tmp_path / "bucket") == files(results)


@pytest.mark.parametrize("changes", range(7))
def test_a_copy_whose_writer_dies_in_any_change_is_whole_after_the_next(
    results: Path, store: CheckpointStore, backup: Backup, tmp_path: Path, changes: int
) -> None:
    """The mark, a picture, a file and a manifest of each of two checkpoints, the record: seven puts, each left half."""
    (store.directory / "curve.svg").write_text("<svg/>")
    for step in (1, 2, 3):
        save(store, step, 1 / step)
    whole = MountedPrefix(tmp_path / "bucket")
    with pytest.raises(CutOffError):
        replace(backup, prefix=Fragile(whole, changes)).copy()
    again = Backup(prefix=whole, results=results, run_id="r1", run_directory=RUN, retention=POLICY)
    again.copy()
    assert again.is_current()
    there = files(tmp_path / "bucket")
    assert {name: there[name] for name in files(results)} == files(results)
    assert all(".broken/" in name for name in there.keys() - files(results).keys())


def test_a_run_whose_results_are_gone_is_brought_back_to_the_byte(
    tmp_path: Path, results: Path, store: CheckpointStore, backup: Backup
) -> None:
    for step in (1, 2, 3):
        save(store, step, 0.5)
    pin(store.checkpoints()[0])
    (store.directory / "samples").mkdir()
    (store.directory / "samples" / "1.png").write_bytes(b"picture")
    backup.copy()
    before = files(results)
    other = tmp_path / "other"
    record = restore(backup.prefix, other, "r1")
    assert record == read_run(results, "r1")
    assert files(other) == before
    restore(backup.prefix, other, "r1")
    assert files(other) == before


def test_a_damaged_copy_is_set_aside_and_the_one_before_it_brought_back(
    tmp_path: Path, store: CheckpointStore, backup: Backup
) -> None:
    for step in (1, 2):
        save(store, step, 0.5)
    backup.copy()
    (tmp_path / "bucket" / RUN / "step-000000002" / "state").write_bytes(b"x")
    notices: list[str] = []
    restore(backup.prefix, tmp_path / "other", "r1", notice=notices.append)
    assert steps(tmp_path, "other") == [1]
    assert steps(tmp_path) == [1]
    assert "step-000000002.broken" in notices[0]


def test_a_second_attempt_beside_a_first_is_told_when_it_copies_and_touches_nothing(
    tmp_path: Path, results: Path, store: CheckpointStore, backup: Backup
) -> None:
    save(store, 1, 0.5)
    backup.copy()
    before = read_run(results, "r1")
    assert before is not None
    other = tmp_path / "other"
    write_run(other, before.with_attempt_begun(started=datetime(2026, 3, 2, tzinfo=UTC), first_step=1))
    beside = Backup(prefix=backup.prefix, results=other, run_id="r1", run_directory=RUN, retention=POLICY)
    beside.copy()  # it knows the first attempt: it goes on from it
    save(store, 2, 0.4)
    there = files(tmp_path / "bucket")
    with pytest.raises(UsageError, match="by another attempt than ours") as caught:
        backup.copy()
    assert "2026-03-02" in caught.value.why
    assert files(tmp_path / "bucket") == there
    beside.copy()


def test_where_there_is_no_copy_there_is_nothing_to_bring_back(tmp_path: Path, results: Path, backup: Backup) -> None:
    assert restore(backup.prefix, results, "r1") is None
    assert not results.exists()


@pytest.mark.parametrize("directory", ["../elsewhere", "/etc", "checkpoints/../../x", "runs"])
def test_a_copy_that_would_lead_elsewhere_is_refused(
    tmp_path: Path, results: Path, store: CheckpointStore, backup: Backup, directory: str
) -> None:
    backup.copy()
    record = read_run(results, "r1")
    assert record is not None
    write_run(tmp_path / "bucket", record.model_copy(update={"run_directory": directory}))
    with pytest.raises(UsageError, match="cannot be trusted"):
        restore(backup.prefix, tmp_path / "other", "r1")
    assert not (tmp_path / "other").exists()
