"""Saving beside the learning: what is written is what was, one at a time, and nothing that it meets is lost."""

from __future__ import annotations

import io
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from tests.support.tiny_job import BATCHES, Tiny, TinyRun
from tests.support.training import same
from training.harness.attempt import Hooks, Result, run_job
from training.harness.learner import Milestone
from training.harness.limits import Limit
from training.harness.snapshots import snapshot
from trimtab.errors import ProgramError
from trimtab.storage.checkpoints import published
from trimtab.storage.prefixes import MountedPrefix
from trimtab.storage.runs import RunRecord, read_run


def run(tiny: TinyRun, results: Path, **hooks: Any) -> Result:
    data = tiny.folder / "data"
    return run_job(tiny.job(), config=tiny.config(), data=data, results=results, run_id="r1", hooks=Hooks(**hooks))


def record_of(results: Path) -> RunRecord:
    record = read_run(results, "r1")
    assert record is not None
    return record


def states(results: Path) -> dict[int, dict[str, Any]]:
    found = published(results / record_of(results).run_directory)
    return {item.step: torch.load(item.path / "state.pt", weights_only=True) for item in found}


def size_of(state: dict[str, Any]) -> int:
    written = io.BytesIO()
    torch.save(state, written)
    return len(written.getvalue())


def test_a_snapshot_is_equal_and_nothing_changes_it_any_more() -> None:
    weights = torch.nn.Linear(3, 2)
    state = {
        "weights": weights.state_dict(),
        "rows": [{"loss": 0.5}],
        "random": torch.get_rng_state(),
        "nothing": (None, "text", torch.empty(0)),
    }
    taken = snapshot(state)
    assert same(taken, state)
    before = snapshot(taken)
    with torch.no_grad():
        weights.weight.add_(1.0)
    state["rows"][0]["loss"] = 0.1  # type: ignore[index]  # it is the list of dicts above
    assert same(taken, before)
    assert taken["rows"] == [{"loss": 0.5}]
    assert not same(taken, state)


def test_a_snapshot_keeps_shared_memory_shared_and_what_weights_carry_with_them() -> None:
    table = torch.arange(10_000.0)
    state = {
        "one": table,
        "again": table,
        "part": table.view(100, 100).t()[3:5],
        "weights": torch.nn.Linear(1, 1).state_dict(),
    }
    taken = snapshot(state)
    assert same(taken, state)
    assert size_of(taken) == size_of(state)
    taken["one"][300] = -1.0
    assert taken["again"][300] == -1.0
    assert isinstance(taken["weights"], OrderedDict)
    assert taken["weights"]._metadata == state["weights"]._metadata  # type: ignore[attr-defined]  # torch reads there
    assert table[300] == 300.0


def test_learning_goes_on_while_a_checkpoint_is_written_and_what_is_written_is_what_was(tmp_path: Path) -> None:
    may_commit, reached = threading.Event(), threading.Event()
    under_way, most = [0], [0]

    def note_step(step: int) -> None:
        if step == 3:  # the checkpoint of step 2 is being written
            reached.set()
            may_commit.set()

    def commit() -> None:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        assert may_commit.wait(30)
        under_way[0] -= 1

    tiny = TinyRun(folder=tmp_path, before_step=note_step, keep_last=99)
    run(tiny, tmp_path / "beside", commit=commit)
    assert reached.is_set()
    assert most == [1]
    run(tiny, tmp_path / "alone")
    beside, alone = states(tmp_path / "beside"), states(tmp_path / "alone")
    assert list(beside) == list(alone) == [2, 4, 5, 6, 8, 10, 12, 14, 15]
    assert all(same(beside[step], alone[step]) for step in alone)


def test_a_metric_that_is_no_number_is_left_out_of_the_record_and_the_training_goes_on(tmp_path: Path) -> None:
    class Odd(Tiny):
        def advance(self) -> Milestone | None:
            milestone = super().advance()
            if milestone is None:
                return None
            self.epochs[-1]["precision"] = math.nan
            return replace(milestone, metrics={**milestone.metrics, "precision": math.nan})

    tiny = TinyRun(folder=tmp_path, epochs=2)
    job = replace(tiny.job(), learner=lambda config, _: Odd(config, before_step=tiny.before_step))
    result = run_job(job, config=tiny.config(), data=tmp_path / "data", results=tmp_path / "results", hooks=Hooks())
    assert result.outcome == "finished"
    assert [set(epoch.metrics) for epoch in result.record.epochs] == [{"loss"}, {"loss"}]


def failing(at: int) -> Callable[[], None]:
    calls = []

    def commit() -> None:
        calls.append(1)
        if len(calls) == at:
            raise ConnectionError("the volume is away")

    return commit


def test_a_save_that_fails_ends_the_attempt_at_the_next_step(tmp_path: Path) -> None:
    steps: list[int] = []
    tiny = TinyRun(folder=tmp_path, epochs=1000, before_step=steps.append)
    with pytest.raises(ProgramError, match="commit failed"):
        run(tiny, tmp_path / "results", commit=failing(2))
    assert len(steps) < 4 + 2 * BATCHES  # not at once, but at the next save at the latest
    record = record_of(tmp_path / "results")
    assert record.outcome == "failed"
    assert "the volume is away" in str(record.attempts[-1].message)


def test_a_save_that_has_failed_is_told_before_another_step_and_not_at_the_next_save(tmp_path: Path) -> None:
    steps: list[int] = []

    def before_step(step: int) -> None:
        steps.append(step)
        for thread in threading.enumerate():
            if step == 2 and thread.name == "save":
                thread.join(30)

    with pytest.raises(ProgramError, match="commit failed"):
        run(TinyRun(folder=tmp_path, before_step=before_step), tmp_path / "results", commit=failing(1))
    assert steps == [0, 1, 2]


def test_a_last_save_that_fails_is_no_finished_run(tmp_path: Path) -> None:
    tiny = TinyRun(folder=tmp_path, epochs=1, every_steps=1000)
    with pytest.raises(ProgramError, match="commit failed"):
        run(tiny, tmp_path / "results", commit=failing(1))
    assert record_of(tmp_path / "results").outcome == "failed"
    assert run(tiny, tmp_path / "results").outcome == "finished"


def test_an_interrupt_waits_for_the_save_that_is_under_way(tmp_path: Path) -> None:
    interrupted = threading.Event()

    def commit() -> None:
        interrupted.wait(30)

    def stop_after(step: int) -> None:
        if step == 2:
            interrupted.set()

    tiny = TinyRun(folder=tmp_path, before_step=stop_after)
    result = run(tiny, tmp_path / "results", commit=commit, stop=interrupted.is_set)
    assert (result.outcome, result.stopped_by) == ("interrupted", "signal")
    assert list(states(tmp_path / "results")) == [2, 3]
    assert record_of(tmp_path / "results").attempts[-1].last_step == 3


def test_an_interrupt_gives_up_the_copy_that_is_under_way_and_still_saves(tmp_path: Path) -> None:
    copying, interrupted, saving_last = threading.Event(), threading.Event(), threading.Event()

    class Slow(MountedPrefix):
        """A bucket that takes nothing before the last save."""

        def put(self, name: str, content: BinaryIO, **others: Any) -> None:
            copying.set()
            assert saving_last.wait(30)
            super().put(name, content, **others)

    def before_step(step: int) -> None:
        if step == 2:  # saved, and being copied
            assert copying.wait(30)
            interrupted.set()

    def commit() -> None:
        if interrupted.is_set() and not saving_last.is_set():
            saving_last.set()
            (thread,) = [thread for thread in threading.enumerate() if thread.name == "backup"]
            thread.join(30)  # it finds that it was given up before this save is done

    tiny = TinyRun(folder=tmp_path, before_step=before_step)
    results = tmp_path / "results"
    result = run(tiny, results, commit=commit, stop=interrupted.is_set, backup=Slow(tmp_path / "bucket"))
    assert (result.outcome, result.stopped_by) == ("interrupted", "signal")
    assert [record_of(results).outcome, max(states(results))] == ["interrupted", 3]


def test_a_save_that_would_not_fit_in_an_interrupt_is_warned_of_once(tmp_path: Path) -> None:
    said: list[str] = []
    run(TinyRun(folder=tmp_path), tmp_path / "results", say=said.append, grace_s=1e-6)
    (warning,) = [line for line in said if "an interrupt leaves" in line]
    assert "lower checkpoints.every_steps" in warning


class Refusing(MountedPrefix):
    """A bucket that takes nothing."""

    def put(self, name: str, _content: BinaryIO, **_: str | None) -> None:
        raise ProgramError(f"writing {name} was refused", why="the role may not", remedy="let it")


def test_a_copy_that_cannot_be_made_stops_no_training_but_is_an_error_at_its_end(tmp_path: Path) -> None:
    tiny, said = TinyRun(folder=tmp_path), []
    with pytest.raises(ProgramError, match="is finished, but its copy") as caught:
        run(tiny, tmp_path / "results", say=said.append, backup=Refusing(tmp_path / "bucket"))
    assert "the role may not" in caught.value.why
    assert any(line.startswith("warning: writing") for line in said)
    assert record_of(tmp_path / "results").outcome == "finished"
    bucket = MountedPrefix(tmp_path / "bucket")
    assert run(tiny, tmp_path / "results", backup=bucket).outcome == "already finished"
    assert states(bucket.directory).keys() == states(tmp_path / "results").keys()


def test_the_end_gives_up_a_copy_of_what_was_and_makes_one_of_what_is(tmp_path: Path) -> None:
    over, put = threading.Event(), []

    class Slow(MountedPrefix):
        """A bucket whose first object takes as long as the training."""

        def put(self, name: str, content: BinaryIO, **others: Any) -> None:
            if not put:
                assert over.wait(30)
                time.sleep(0.3)  # for the attempt to come from its last line to its last copy
            put.append(name)
            super().put(name, content, **others)

    def say(line: str) -> None:
        if line == "done":
            over.set()

    bucket = Slow(tmp_path / "bucket")
    assert run(TinyRun(folder=tmp_path), tmp_path / "results", say=say, backup=bucket).outcome == "finished"
    assert put.count("runs/r1.json") == 1
    assert states(bucket.directory).keys() == states(tmp_path / "results").keys()


def test_the_record_says_of_each_attempt_what_it_used_and_what_launched_it(tmp_path: Path) -> None:
    result = run(replace(TinyRun(folder=tmp_path), epochs=1), tmp_path / "results", call="fc-1")
    attempt = record_of(tmp_path / "results").attempts[-1]
    assert attempt.call == "fc-1"
    assert attempt.peaks["memory"] > 10_000_000
    assert result.peaks.keys() == attempt.peaks.keys() >= {"memory", "process", "disk"}


def test_a_copy_that_cannot_be_made_fails_no_attempt_that_a_limit_stopped(tmp_path: Path) -> None:
    left, said = iter([100.0] * 7), []
    limits = (Limit(name="budget", left_s=lambda: next(left, 50.0)),)
    refusing = Refusing(tmp_path / "bucket")
    result = run(TinyRun(folder=tmp_path), tmp_path / "results", say=said.append, backup=refusing, limits=limits)
    assert (result.outcome, result.stopped_by) == ("interrupted", "budget")
    assert record_of(tmp_path / "results").outcome == "interrupted"
    assert any("its copy in" in line for line in said)
