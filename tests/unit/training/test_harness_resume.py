"""One run and any chain of interrupted ones end equal to the bit: weights, optimiser, rows, files."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tiny_job import BATCHES, TinyRun
from tests.support.training import final_state, same, small_config, small_folder
from training.harness.attempt import Hooks, Result, run_job
from training.harness.limits import Limit
from trimtab.storage.checkpoints import published
from trimtab.storage.prefixes import MountedPrefix
from trimtab.storage.runs import RunRecord, read_run

EPOCHS = 4
STEPS = EPOCHS * BATCHES
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  # the system's own directory in memory


class KilledError(BaseException):
    """The process is gone: nothing is told, nothing more is saved."""


def attempt(run: TinyRun, results: Path, *, stop_at: int | None = None, kill_at: int | None = None) -> Result | None:
    """Run one attempt that is interrupted or killed after so many steps of its own, or None where it was killed."""
    counter = itertools.count(-1)  # it is asked once before the first step

    def stop() -> bool:
        done = next(counter)
        if kill_at is not None and done >= kill_at:
            raise KilledError
        return stop_at is not None and done >= stop_at

    try:
        return run_job(
            run.job(),
            config=run.config(),
            data=run.folder / "data",
            results=results,
            run_id="r1",
            hooks=Hooks(stop=stop),
        )
    except KilledError:
        return None


def record_of(results: Path) -> tuple[RunRecord, Path]:
    record = read_run(results, "r1")
    assert record is not None
    return record, results / record.run_directory


def assert_equal(results: Path, whole: Path) -> None:
    (record, run), (expected, expected_run) = record_of(results), record_of(whole)
    of_configuration = {"config_sha256": ""}  # how often it saves is in there
    assert same(final_state(run) | of_configuration, final_state(expected_run) | of_configuration)
    assert (record.epochs, record.final) == (expected.epochs, expected.final)
    for name in ("model.pt", *(f"rows/{epoch}.txt" for epoch in range(1, EPOCHS + 1))):
        assert (run / name).read_bytes() == (expected_run / name).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    result = attempt(TinyRun(folder=folder, epochs=EPOCHS), folder / "results")
    assert result is not None
    assert result.outcome == "finished"
    return folder / "results"


breaks = st.lists(st.tuples(st.sampled_from(["stop", "kill"]), st.integers(0, 8)), max_size=6)


@settings(max_examples=15)
@given(breaks, st.sampled_from([2, 3, 7]))
def test_any_chain_of_interrupted_attempts_ends_as_one_run_does(
    whole: Path, chain: list[tuple[str, int]], every_steps: int
) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        run = TinyRun(folder=Path(name), epochs=EPOCHS, every_steps=every_steps)
        results = run.folder / "results"
        reached = 0
        for kind, after in chain:
            result = attempt(run, results, **{f"{kind}_at": after})
            if result is None:
                continue
            if result.outcome != "interrupted":
                break
            assert result.stopped_by == "signal"
            steps = [item.step for item in published(record_of(results)[1])]
            assert steps[-1] == result.record.attempts[-1].last_step == max(reached, steps[-1])
            reached = steps[-1]
        attempt(run, results)
        assert_equal(results, whole)


def test_interrupted_after_each_of_its_steps_it_ends_as_one_run_does(tmp_path: Path, whole: Path) -> None:
    run = TinyRun(folder=tmp_path, epochs=EPOCHS)
    results = [attempt(run, tmp_path / "results", stop_at=1) for _ in range(STEPS)]
    assert [result and result.outcome for result in results] == ["interrupted"] * (STEPS - 1) + ["finished"]
    record, _ = record_of(tmp_path / "results")
    assert [item.first_step for item in record.attempts] == list(range(STEPS))
    assert_equal(tmp_path / "results", whole)


def test_the_classifier_interrupted_in_mid_epoch_ends_as_one_run_does(tmp_path: Path) -> None:
    data, config = small_folder(tmp_path / "digits"), small_config(tmp_path / "config.yaml")

    def train(results: Path, steps: int | None) -> str:
        counter = itertools.count(-1)  # it is asked once before the first step
        hooks = Hooks(stop=lambda: steps is not None and next(counter) >= steps)
        return run_job("classifier", config=config, data=data, results=results, run_id="r1", hooks=hooks).outcome

    assert train(tmp_path / "whole", None) == "finished"
    outcomes = [train(tmp_path / "chain", steps) for steps in (5, 6, 13, None)]
    assert outcomes == ["interrupted"] * 3 + ["finished"]
    (record, run), (expected, expected_run) = record_of(tmp_path / "chain"), record_of(tmp_path / "whole")
    assert [item.first_step % 8 for item in record.attempts] == [0, 5, 3, 0]
    assert same(final_state(run), final_state(expected_run))
    assert record.epochs == expected.epochs
    assert [item.sha256 for item in record.artifacts] == [item.sha256 for item in expected.artifacts]


def test_a_retry_after_midnight_goes_on_in_the_directory_of_the_first_attempt(tmp_path: Path, whole: Path) -> None:
    run, results = TinyRun(folder=tmp_path, epochs=EPOCHS), tmp_path / "results"
    attempt(run, results, kill_at=7)
    record, directory = record_of(results)
    yesterday = results / "checkpoints" / "tiny" / "2026-01-31"  # as if the first attempt had been then
    directory.parent.rename(yesterday)
    moved = record.model_dump_json().replace(directory.parent.name, yesterday.name)
    (results / "runs" / "r1.json").write_text(moved)
    result = attempt(run, results)
    assert result is not None
    assert result.resumed_from_step == 6
    assert [path.name for path in (results / "checkpoints" / "tiny").iterdir()] == ["2026-01-31"]
    assert_equal(results, whole)


class Clock:
    """An attempt's time that passes by the step."""

    def __init__(self, steps: float) -> None:
        self.left = steps

    def __call__(self) -> float:
        self.left -= 1
        return self.left


@pytest.mark.parametrize("name", ["time", "budget"])
def test_an_attempt_whose_time_or_money_runs_out_saves_in_time_and_the_next_goes_on(
    tmp_path: Path, whole: Path, name: str
) -> None:
    run, results = TinyRun(folder=tmp_path, epochs=EPOCHS, every_steps=1000), tmp_path / "results"

    def next_attempt() -> Result:
        limits = (Limit(name=name, left_s=Clock(9.5), margin_s=2.0),)
        hooks = Hooks(limits=limits)
        return run_job(
            run.job(), config=run.config(), data=tmp_path / "data", results=results, run_id="r1", hooks=hooks
        )

    while (result := next_attempt()).outcome == "interrupted":
        assert result.stopped_by == name
        newest = published(record_of(results)[1])[-1]
        assert newest.step == result.record.attempts[-1].last_step
        assert result.record.attempts[-1].message == f"stopped by its {name} limit"
    assert len(result.record.attempts) in (3, 4, 5)
    assert_equal(results, whole)


def test_an_attempt_makes_a_step_however_little_time_it_has_but_none_when_the_money_is_gone(tmp_path: Path) -> None:
    run = TinyRun(folder=tmp_path)

    def steps_within(left_s: float, results: Path) -> int:
        hooks = Hooks(limits=(Limit(name="time", left_s=lambda: left_s, margin_s=60.0),))
        result = run_job(
            run.job(), config=run.config(), data=tmp_path / "data", results=results, run_id="r1", hooks=hooks
        )
        assert result.stopped_by == "time"
        return result.record.attempts[-1].last_step

    assert steps_within(1.0, tmp_path / "short") == 1
    assert steps_within(0.0, tmp_path / "gone") == 0


def test_a_run_whose_volume_is_gone_goes_on_from_its_copy_in_the_bucket(tmp_path: Path, whole: Path) -> None:
    run, bucket = TinyRun(folder=tmp_path, epochs=EPOCHS), MountedPrefix(tmp_path / "bucket")
    counter = itertools.count()
    said: list[str] = []

    def with_copy(results: Path, steps: int | None = None) -> Result:
        limits = (Limit(name="time", left_s=lambda: 100.0 if next(counter) < (steps or 1000) else 20.0, margin_s=50.0),)
        hooks = Hooks(backup=bucket, limits=limits, say=said.append)
        return run_job(
            run.job(), config=run.config(), data=tmp_path / "data", results=results, run_id="r1", hooks=hooks
        )

    first = with_copy(tmp_path / "volume", steps=7)
    assert (first.outcome, first.record.attempts[-1].last_step) == ("interrupted", 7)
    second = with_copy(tmp_path / "another")
    assert (second.outcome, second.resumed_from_step) == ("finished", 7)
    assert second.record.run_directory == first.record.run_directory
    assert any("brought the run r1 back" in line for line in said)
    assert_equal(tmp_path / "another", whole)
    copied, _ = record_of(bucket.directory)
    assert copied == second.record
    assert_equal(bucket.directory, whole)

    before = {path: path.stat().st_mtime_ns for path in bucket.directory.rglob("*")}
    assert with_copy(tmp_path / "another").outcome == "already finished"
    assert {path: path.stat().st_mtime_ns for path in bucket.directory.rglob("*")} == before
    assert with_copy(tmp_path / "a-third").outcome == "already finished"
