"""What others see of a run: what was committed. And what is given up, or refused, so that a run stays its own."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from tests.support.tiny_job import TinyRun
from training.harness.attempt import Hooks, Result, run_job
from training.harness.limits import Limit
from trimtab.errors import ProgramError, UsageError
from trimtab.storage.checkpoints import published
from trimtab.storage.prefixes import MountedPrefix
from trimtab.storage.runs import read_run

if TYPE_CHECKING:
    from pathlib import Path


def run(tiny: TinyRun, results: Path, **hooks: Any) -> Result:
    data = tiny.folder / "data"
    return run_job(tiny.job(), config=tiny.config(), data=data, results=results, run_id="r1", hooks=Hooks(**hooks))


def test_each_milestone_and_the_end_are_committed_with_their_record(tmp_path: Path) -> None:
    seen: list[tuple[str | None, int, int]] = []

    def commit() -> None:
        record = read_run(tmp_path / "results", "r1")
        assert record is not None
        seen.append((record.outcome, len(record.epochs), record.attempts[-1].last_step))

    run(TinyRun(folder=tmp_path, epochs=2, every_steps=1000), tmp_path / "results", commit=commit)
    # Each of two milestones commits its checkpoint, then the record that has its row; the end commits its own.
    assert seen == [
        ("running", 0, 0),
        ("running", 1, 5),
        ("running", 1, 5),
        ("running", 2, 10),
        ("finished", 2, 10),
    ]


def test_an_attempt_that_is_interrupted_commits_that_it_was(tmp_path: Path) -> None:
    seen: list[str | None] = []

    def commit() -> None:
        record = read_run(tmp_path / "results", "r1")
        seen.append(record and record.outcome)

    asked = iter([False] * 3)
    run(TinyRun(folder=tmp_path, every_steps=1000), tmp_path / "results", commit=commit, stop=lambda: next(asked, True))
    assert seen == ["running", "interrupted"]


class TakingAtTheEnd(MountedPrefix):
    """A bucket that takes nothing while the training goes on."""

    def put(self, name: str, content: BinaryIO, *, sha256: str | None) -> None:
        if threading.current_thread().name == "backup":
            raise ProgramError(f"writing {name} was refused", why="it is too early", remedy="wait")
        super().put(name, content, sha256=sha256)


@pytest.mark.parametrize(("at_the_end_s", "is_copied"), [(16.0, True), (15.0, False)])
def test_a_copy_is_given_up_when_a_quarter_of_the_limit_s_margin_is_left(
    tmp_path: Path, at_the_end_s: float, *, is_copied: bool
) -> None:
    said: list[str] = []
    left = iter([1000.0] * 7)
    limits = (Limit(name="time", left_s=lambda: next(left, at_the_end_s), margin_s=60.0),)
    bucket = TakingAtTheEnd(tmp_path / "bucket")
    result = run(TinyRun(folder=tmp_path), tmp_path / "results", limits=limits, say=said.append, backup=bucket)
    assert (result.outcome, result.stopped_by) == ("interrupted", "time")
    assert (read_run(bucket.directory, "r1") is not None) == is_copied
    assert any("goes on with the next attempt" in line for line in said) != is_copied


def test_a_checkpoint_of_another_configuration_is_not_gone_on_from(tmp_path: Path) -> None:
    for name, every in (("one", 2), ("other", 3)):
        asked = iter([False] * 4)
        tiny = replace(TinyRun(folder=tmp_path), every_steps=every)
        run(tiny, tmp_path / name, stop=lambda asked=asked: next(asked, True))  # type: ignore[misc]  # a default binds it
    one, other = (next((tmp_path / name).glob("checkpoints/tiny/*/r1")) for name in ("one", "other"))
    newest = published(other)[-1]
    for item in published(one):
        shutil.rmtree(item.path)
    shutil.copytree(newest.path, one / newest.path.name)
    with pytest.raises(UsageError, match="cannot be gone on from") as caught:
        run(replace(TinyRun(folder=tmp_path), every_steps=2), tmp_path / "one")
    assert "config_sha256" in caught.value.why
    assert [item.step for item in published(one)] == [newest.step]
