"""Who goes on when an attempt has ended: nobody, the platform with the same input, or a person with another call."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import Any

import modal
import pytest

from deploy.modal.attempts import OutOfTimeError, answer, used_before_s
from tests.support.registry_of_runs import at, attempt, record
from training.harness.attempt import Result
from trimtab.storage.runs import Attempt, RunRecord

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RECORD = RunRecord(
    job="tides",
    run_id="t-1",
    run_directory="checkpoints/tides/2026-11-23/t-1",
    commit=None,
    config={},
    config_sha256="c",
    data_sha256="d",
    attempts=(Attempt(started=NOW, first_step=0, last_step=40),),
)


def ended(outcome: Any, *, stopped_by: str | None = None) -> Result:
    return Result(outcome=outcome, resumed_from_step=None, record=RECORD, stopped_by=stopped_by)


@pytest.mark.parametrize("outcome", ["finished", "already finished"])
def test_a_run_that_is_finished_is_answered_with_where_it_lies(outcome: str) -> None:
    said = answer(ended(outcome), [])
    assert said["outcome"] == outcome
    assert said["record"]["run_directory"] == "checkpoints/tides/2026-11-23/t-1"
    assert said["record"]["attempts"][0]["last_step"] == 40


def test_a_run_at_its_cap_ends_well_so_that_the_platform_does_not_try_again() -> None:
    assert answer(ended("interrupted", stopped_by="budget"), [])["outcome"] == "capped"


def test_a_preempted_attempt_leaves_its_input_to_the_next() -> None:
    with pytest.raises(KeyboardInterrupt):
        answer(ended("interrupted", stopped_by="signal"), [signal.SIGINT])


def test_what_a_person_stopped_is_not_tried_again_whatever_else_came() -> None:
    with pytest.raises(modal.exception.InputCancellation):
        answer(ended("interrupted", stopped_by="signal"), [signal.SIGINT, signal.SIGUSR1])


def test_an_attempt_whose_time_is_nearly_up_fails_and_is_tried_again() -> None:
    with pytest.raises(OutOfTimeError, match="saved at step 40"):
        answer(ended("interrupted", stopped_by="time"), [])


def test_an_attempt_that_finished_all_the_same_is_finished() -> None:
    assert answer(ended("finished"), [signal.SIGINT])["outcome"] == "finished"


@pytest.mark.parametrize(("call", "used_min"), [("fc-1", 30), ("fc-2", 12)])
def test_an_attempt_that_was_killed_is_billed_until_the_next_of_its_call_or_until_it_was_seen(
    call: str, used_min: float
) -> None:
    killed = attempt(0, call="fc-1", seen=at(12), outcome="killed", last_step=9)
    ours = attempt(30, call=call)
    assert used_before_s(record("r1", killed, ours), call=call, began=at(30)) == used_min * 60
    assert (
        used_before_s(record("r1", killed), call=call, began=at(30)) == used_min * 60
    )  # nothing is written of ours yet
    assert used_before_s(None, call=call, began=at(30)) == 0
