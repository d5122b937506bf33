"""The executor: everything is looked at before anything runs, what is finished stays, and every end is written down."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.steps import RecordingHandler, Task, plan_of, task_step
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.errors import BudgetError, HealthError, ProgramError, UsageError
from trimtab.executor import DisplayExecutor, Executor, RunRecord
from trimtab.plan import Plan


@pytest.fixture
def handler() -> RecordingHandler:
    return RecordingHandler()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "ledger.jsonl")


@pytest.fixture
def executor(handler: RecordingHandler, ledger: Ledger, tmp_path: Path) -> Executor:
    return Executor({Task: handler}, ledger=ledger, console=Console(), watched={"state": tmp_path})


@pytest.fixture
def carry_out(executor: Executor) -> Callable[[Plan], RunRecord]:
    return lambda plan: executor.run(plan, run="r1")


CarryOut = Callable[[Plan], RunRecord]


def raising(error: BaseException) -> Callable[[Any], None]:
    def do(_say: object) -> None:
        raise error

    return do


def test_every_preflight_comes_before_any_step_runs(carry_out: CarryOut, handler: RecordingHandler) -> None:
    carry_out(plan_of("a", "b"))
    assert handler.calls.index("preflight b") < handler.calls.index("run a")
    assert handler.ran == ["a", "b"]


def test_a_step_that_is_refused_stops_the_run_before_anything_was_written(
    carry_out: CarryOut, handler: RecordingHandler, ledger: Ledger, tmp_path: Path
) -> None:
    handler.refuses["b"] = UsageError("b cannot be", why="w", remedy="r")
    with pytest.raises(UsageError, match="b cannot be"):
        carry_out(plan_of("a", "b"))
    assert handler.ran == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_finished_is_not_run_again(carry_out: CarryOut, handler: RecordingHandler, ledger: Ledger) -> None:
    handler.done["a"] = {"made": "earlier"}
    record = carry_out(plan_of("a", "b"))
    assert handler.ran == ["b"]
    assert record.result("a") == {"made": "earlier"}
    assert [(outcome.outcome, outcome.measured is None) for outcome in record.outcomes] == [
        ("already done", True),
        ("done", False),
    ]
    assert [entry.outcome for entry in ledger.entries()] == ["already done", "done"]


def test_a_second_run_repeats_nothing(carry_out: CarryOut, handler: RecordingHandler) -> None:
    carry_out(plan_of("a", "b"))
    handler.calls.clear()
    carry_out(plan_of("a", "b"))
    assert handler.ran == []
    assert handler.calls == ["preflight a", "preflight b", "finished a?", "finished b?"]


def test_what_a_step_undoes_is_done_again(carry_out: CarryOut, handler: RecordingHandler) -> None:
    handler.done["b"] = {"made": "earlier"}
    handler.does["a"] = lambda _say: handler.done.pop("b")
    carry_out(plan_of("a", "b"))
    assert handler.ran == ["a", "b"]


def test_a_failure_stops_the_run_is_written_down_and_raised_as_it_is(
    carry_out: CarryOut, handler: RecordingHandler, ledger: Ledger
) -> None:
    error = HealthError("b is ill", why="fever", remedy="rest")
    handler.does["b"] = raising(error)
    with pytest.raises(HealthError) as caught:
        carry_out(plan_of("a", "b", "c"))
    assert caught.value is error
    assert error.__cause__ is None
    assert handler.ran == ["a", "b"]
    first, second = ledger.entries()
    assert (first.outcome, second.outcome) == ("done", "failed")
    assert second.measured is not None
    assert second.result["error"].startswith("HealthError: b is ill")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (HealthError("b is ill", why="fever", remedy="rest"), "FAILED  doing b"),
        (KeyboardInterrupt(), "cut off  doing b"),
        (RuntimeError("a bug"), "cut off  doing b"),
    ],
)
def test_only_a_step_that_came_to_its_end_is_called_ok(
    carry_out: CarryOut,
    handler: RecordingHandler,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    said: str,
) -> None:
    handler.does["b"] = raising(error)
    with pytest.raises(type(error)):
        carry_out(plan_of("a", "b"))
    ends = [line for line in capsys.readouterr().err.splitlines() if line.startswith((" ok", "FAILED", "cut off"))]
    assert [line.partition(" (")[0] for line in ends] == [" ok  doing a", said]


def test_the_run_after_a_failure_goes_on_where_it_stopped(carry_out: CarryOut, handler: RecordingHandler) -> None:
    handler.does["b"] = raising(RuntimeError("a bug"))
    with pytest.raises(RuntimeError):
        carry_out(plan_of("a", "b", "c"))
    del handler.does["b"]
    handler.calls.clear()
    carry_out(plan_of("a", "b", "c"))
    assert handler.ran == ["b", "c"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_explained_with_exit_code_6(
    carry_out: CarryOut, handler: RecordingHandler, ledger: Ledger, number: int
) -> None:
    handler.does["a"] = raising(OSError(number, os.strerror(number), "/data/model.bin"))
    with pytest.raises(BudgetError, match="step a stopped: the disk is full") as caught:
        carry_out(plan_of("a"))
    assert caught.value.exit_code == 6
    assert caught.value.why == f"/data/model.bin: {os.strerror(number)}"
    assert "goes on where it stopped" in caught.value.remedy
    assert isinstance(caught.value.__cause__, OSError)
    assert [entry.outcome for entry in ledger.entries()] == ["failed"]


def test_a_full_disk_that_another_program_met_is_explained_with_exit_code_6(
    carry_out: CarryOut, handler: RecordingHandler
) -> None:
    said = ProgramError("`docker build` ended with exit code 1", why="write /x: no space left on device", remedy="mend")
    handler.does["a"] = raising(said)
    with pytest.raises(BudgetError, match="step a stopped: the disk is full") as caught:
        carry_out(plan_of("a"))
    assert "docker build" in caught.value.why


def test_another_error_of_the_system_is_not_mistaken_for_a_full_disk(
    carry_out: CarryOut, handler: RecordingHandler
) -> None:
    handler.does["a"] = raising(PermissionError(errno.EACCES, "Permission denied", "/data"))
    with pytest.raises(PermissionError):
        carry_out(plan_of("a"))


def test_an_interrupt_is_written_down_and_goes_on_up(
    carry_out: CarryOut, handler: RecordingHandler, ledger: Ledger
) -> None:
    def interrupted(_say: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    handler.does["a"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan_of("a", "b"))
    assert handler.ran == ["a"]
    assert [(entry.step, entry.outcome) for entry in ledger.entries()] == [("a", "failed")]
    assert not [thread for thread in threading.enumerate() if thread.name == "meter"]


def test_too_little_room_is_refused_before_anything_is_written(
    carry_out: CarryOut, handler: RecordingHandler, tmp_path: Path
) -> None:
    plan = Plan(steps=(task_step("a"), task_step("b", peak_bytes=10**18)))
    with pytest.raises(BudgetError, match="not enough room where") as caught:
        carry_out(plan)
    assert caught.value.exit_code == 6
    assert str(tmp_path) in caught.value.what
    assert handler.ran == []
    assert list(tmp_path.iterdir()) == []


def test_only_the_steps_that_are_left_need_room(carry_out: CarryOut, handler: RecordingHandler) -> None:
    handler.done["huge"] = {}
    carry_out(Plan(steps=(task_step("huge", peak_bytes=10**18), task_step("small"))))
    assert handler.ran == ["small"]


def test_a_ledger_that_cannot_be_written_does_not_hide_why_a_step_failed(
    handler: RecordingHandler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    executor = Executor(
        {Task: handler},
        ledger=Ledger(tmp_path / "state" / "ledger.jsonl"),
        console=Console(),
        watched={"state": tmp_path},
    )
    handler.does["a"] = raising(HealthError("a is ill", why="w", remedy="r"))
    with pytest.raises(HealthError, match="a is ill"):
        executor.run(plan_of("a"), run="r1")
    assert "the ledger could not be written" in capsys.readouterr().err


def test_what_a_step_says_is_shown_as_progress_and_not_as_a_result(
    carry_out: CarryOut, handler: RecordingHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    handler.does["a"] = lambda say: say("[1/2] half of it")
    carry_out(plan_of("a"))
    captured = capsys.readouterr()
    assert captured.out == ""
    shown = [line.strip() for line in captured.err.splitlines()]
    assert shown[:2] == ["-> doing a", "[1/2] half of it"]
    assert any(line.startswith("ok  doing a (") for line in shown)


def test_the_record_tells_when_each_step_ran_and_how_full_the_disk_was(
    carry_out: CarryOut, handler: RecordingHandler
) -> None:
    handler.does["a"] = lambda _say: time.sleep(0.5)
    record = carry_out(plan_of("a", "b"))
    first, second = record.outcomes
    assert 0 <= first.started_s <= first.ended_s - 0.5
    assert first.ended_s <= second.started_s + 0.05
    assert first.measured is not None
    assert first.measured.wall_s == pytest.approx(first.ended_s - first.started_s, abs=0.3)
    times = [at_s for at_s, _ in record.disk]
    assert times == sorted(times)
    assert times[-1] >= second.started_s
    assert len([at_s for at_s in times if at_s <= first.ended_s]) >= 3


FAN = (
    task_step("base"),
    task_step("a", needs=("base",)),
    task_step("serve a", needs=("a",)),
    task_step("b", needs=("base",)),
    task_step("serve b", needs=("b",)),
)


def outcomes_of(record: RunRecord) -> dict[str, str]:
    return {outcome.step.name: outcome.outcome for outcome in record.outcomes}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_skips_what_needs_it_and_nothing_else(
    carry_out: CarryOut, executor: Executor, handler: RecordingHandler, ledger: Ledger, jobs: int
) -> None:
    error = HealthError("a is ill", why="fever", remedy="rest")
    handler.does["a"] = raising(error)
    with pytest.raises(HealthError) as caught:
        carry_out(Plan(steps=FAN, jobs=jobs))
    assert caught.value is error
    assert sorted(handler.ran) == ["a", "b", "base", "serve b"]
    assert sorted((entry.step, entry.outcome) for entry in ledger.entries()) == [
        ("a", "failed"), ("b", "done"), ("base", "done"), ("serve b", "done"),
    ]  # fmt: skip


def test_a_record_of_a_run_that_kept_going_tells_each_end(executor: Executor, handler: RecordingHandler) -> None:
    handler.does["a"] = raising(HealthError("a is ill", why="fever", remedy="rest"))
    record = executor.run(Plan(steps=FAN), run="r1", keep_going=True)
    assert outcomes_of(record) == {
        "base": "done", "a": "failed", "serve a": "skipped", "b": "done", "serve b": "done",
    }  # fmt: skip
    assert [error.what for error in record.failures] == ["a is ill"]
    by_name = {outcome.step.name: outcome.verdict for outcome in record.outcomes}
    assert (by_name["a"], by_name["serve a"]) == ("FAILED: a is ill", "skipped: a is not there")


def test_nothing_is_left_to_do_when_what_all_need_fails(executor: Executor, handler: RecordingHandler) -> None:
    handler.does["base"] = raising(HealthError("base is ill", why="fever", remedy="rest"))
    record = executor.run(Plan(steps=FAN, jobs=2), run="r1", keep_going=True)
    assert handler.ran == ["base"]
    assert list(outcomes_of(record).values()) == ["failed", "skipped", "skipped", "skipped", "skipped"]


def test_steps_that_need_nothing_of_each_other_run_side_by_side_and_predict_no_disk(
    executor: Executor, handler: RecordingHandler, ledger: Ledger
) -> None:
    both = threading.Barrier(2, timeout=10)
    handler.does["a"] = handler.does["b"] = lambda _say: both.wait()
    record = executor.run(Plan(steps=FAN, jobs=2), run="r1")
    assert set(outcomes_of(record).values()) == {"done"}
    assert {entry.step: entry.alone for entry in ledger.entries()}["base"] is True
    assert {entry.step: entry.alone for entry in ledger.entries()}["a"] is False
    assert set(ledger.measured()) & {"a", "b"} == set()


def test_no_more_run_side_by_side_than_the_plan_says(executor: Executor, handler: RecordingHandler) -> None:
    running: list[str] = []
    most: list[int] = []

    def busy(name: str) -> Callable[[Any], None]:
        def do(_say: object) -> None:
            running.append(name)
            most.append(len(running))
            time.sleep(0.05)
            running.remove(name)

        return do

    names = "abcdef"
    handler.does = {name: busy(name) for name in names}
    executor.run(Plan(steps=tuple(task_step(name, needs=()) for name in names), jobs=2), run="r1")
    assert max(most) == 2


def test_an_interrupt_reaches_every_step_that_runs_and_each_tidies_up(
    executor: Executor, handler: RecordingHandler, ledger: Ledger
) -> None:
    both, tidied = threading.Barrier(2, timeout=10), []

    def busy(name: str, *, interrupts: bool) -> Callable[[Any], None]:
        def do(_say: object) -> None:
            try:  # before the other may interrupt
                both.wait()
                if interrupts:
                    os.kill(os.getpid(), signal.SIGINT)
                for _ in range(500):
                    time.sleep(0.02)
            finally:
                tidied.append(name)

        return do

    handler.does = {"a": busy("a", interrupts=True), "b": busy("b", interrupts=False)}
    with pytest.raises(KeyboardInterrupt):
        executor.run(Plan(steps=FAN, jobs=2), run="r1")
    assert sorted(tidied) == ["a", "b"]
    assert sorted(handler.ran) == ["a", "b", "base"]
    assert [entry.outcome for entry in ledger.entries() if entry.step in ("a", "b")] == ["failed", "failed"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("meter", "step"))]


def test_a_bug_in_one_step_ends_the_others(executor: Executor, handler: RecordingHandler) -> None:
    both = threading.Barrier(2, timeout=10)

    def endless(_say: object) -> None:
        both.wait()
        for _ in range(500):
            time.sleep(0.02)

    def broken(_say: object) -> None:
        both.wait()
        raise RuntimeError("a bug")

    handler.does = {"a": endless, "b": broken}
    with pytest.raises(RuntimeError, match="a bug"):
        executor.run(Plan(steps=FAN, jobs=2), run="r1")
    assert "serve a" not in handler.ran


def test_a_step_nobody_can_carry_out_is_found_before_anything_runs(tmp_path: Path, ledger: Ledger) -> None:
    executor = Executor({}, ledger=ledger, console=Console(), watched={"state": tmp_path})
    with pytest.raises(KeyError):
        executor.run(plan_of("a"), run="r1")
    assert list(tmp_path.iterdir()) == []


def test_the_one_that_only_shows_does_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    record = DisplayExecutor(Console()).run(plan_of("a", "b"), run="r1")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == ["would run  a: doing a", "would run  b: doing b"]
    assert captured.out == ""
    assert record.outcomes == ()
