"""A run's copy in a bucket: what goes first, what goes at all, and whose record stays when it comes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

import pytest

from trimtab.storage.backups import Abandoned, Backup, restore
from trimtab.storage.checkpoints import CheckpointStore, open_store, published
from trimtab.storage.prefixes import MountedPrefix
from trimtab.storage.retention import Retention
from trimtab.storage.runs import RunRecord, read_run, write_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = "checkpoints/tides/2026-03-01/r1"
POLICY = Retention(keep_last=2)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Counting:
    """A bucket that remembers what was put into it."""

    def __init__(self, directory: Path) -> None:
        self.bucket = MountedPrefix(directory)
        self.sizes, self.reading, self.remove = self.bucket.sizes, self.bucket.reading, self.bucket.remove
        self.names: list[str] = []

    def put(self, name: str, content: BinaryIO, *, sha256: str | None) -> None:
        self.names.append(name.removeprefix(f"{RUN}/"))
        self.bucket.put(name, content, sha256=sha256)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    record = RunRecord(
        job="tides", run_id="r1", run_directory=RUN, commit=None, config={}, config_sha256="0", data_sha256="0"
    )
    write_run(tmp_path / "results", record.with_attempt_begun(started=NOON, first_step=0))
    return tmp_path / "results"


@pytest.fixture
def bucket(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "bucket")


@pytest.fixture
def backup(results: Path, bucket: Counting) -> Backup:
    return Backup(prefix=bucket, results=results, run_id="r1", run_directory=RUN, retention=POLICY)


@pytest.fixture
def store(results: Path) -> Iterator[CheckpointStore]:
    with open_store(results / RUN, run_id="r1", retention=Retention(keep_last=9)) as opened:
        for step in (1, 2, 3, 4):
            opened.save(step, {"state": lambda stream, step=step: stream.write(b"%d" % step)})
        yield opened


def test_a_copy_that_is_given_up_has_the_newest_checkpoint(
    bucket: Counting, backup: Backup, store: CheckpointStore
) -> None:
    assert len(store.checkpoints()) == 4
    asked = iter([False])
    with pytest.raises(Abandoned):
        backup.copy(lambda: next(asked, True))
    assert [item.step for item in published(bucket.bucket.directory / RUN)] == [4]


def test_what_the_policy_lets_go_is_never_sent_and_nothing_is_sent_twice(
    bucket: Counting, backup: Backup, store: CheckpointStore
) -> None:
    (store.directory / "model.pt").write_bytes(b"weights")
    backup.copy()
    once = ["CHECKPOINTS.json", "model.pt", "runs/r1.json"]
    saved = [f"step-{step:09d}/{name}" for step in (3, 4) for name in ("MANIFEST.json", "state")]
    assert sorted(bucket.names) == sorted(once + saved)
    bucket.names.clear()
    backup.copy()
    assert bucket.names == ["runs/r1.json"]


def test_a_record_that_is_here_stays_when_an_older_copy_comes_back(
    bucket: Counting, results: Path, backup: Backup, store: CheckpointStore
) -> None:
    assert store.checkpoints()
    backup.copy()
    before = read_run(results, "r1")
    assert before is not None
    newer = before.with_attempt_begun(started=NOON + timedelta(hours=1), first_step=4)
    write_run(results.parent / "other", newer)
    restore(bucket, results.parent / "other", "r1")
    assert read_run(results.parent / "other", "r1") == newer
