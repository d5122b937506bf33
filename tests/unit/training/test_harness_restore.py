"""A run is brought back from its copy, and whoever does that dies: nothing of it may be given up for good."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from tests.support.tiny_job import TinyRun
from training.harness.attempt import Hooks, Result, run_job
from trimtab.storage.checkpoints import published
from trimtab.storage.prefixes import MountedPrefix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trimtab.storage.prefixes import Prefix


class KilledError(BaseException):
    """The process is gone: nothing more is done."""


class CutOff:
    """A bucket whose reader dies after so many objects."""

    def __init__(self, bucket: MountedPrefix, reads: int) -> None:
        self.sizes, self.put, self.remove = bucket.sizes, bucket.put, bucket.remove
        self._bucket, self._left = bucket, reads

    @contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        self._left -= 1
        if self._left < 0:
            raise KilledError
        with self._bucket.reading(name) as stream:
            yield stream


def attempt(run: TinyRun, results: Path, bucket: Prefix) -> Result:
    data, hooks = run.folder / "data", Hooks(backup=bucket)
    return run_job(run.job(), config=run.config(), data=data, results=results, run_id="r1", hooks=hooks)


def test_a_run_whose_return_is_cut_off_anywhere_comes_back_whole_the_next_time(tmp_path: Path) -> None:
    run, bucket = TinyRun(folder=tmp_path, keep_last=3), MountedPrefix(tmp_path / "bucket")
    first = attempt(run, tmp_path / "results", bucket)
    steps = [item.step for item in published(tmp_path / "results" / first.record.run_directory)]
    cuts = 0
    while True:
        results = tmp_path / f"again-{cuts}"
        try:
            attempt(run, results, CutOff(bucket, cuts))
        except KilledError:
            cuts += 1
            second = attempt(run, results, bucket)
            assert (second.outcome, second.record) == ("already finished", first.record), f"cut off after {cuts - 1}"
            assert [item.step for item in published(results / first.record.run_directory)] == steps
        else:
            break
    assert cuts > 2 * len(steps)
