"""What is read of the Volume while a run goes on: a record that is older than what its call is known to be by then."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.modal.results import was_under_way

RUNNING = {"attempts": [{"outcome": "finished", "call": "fc-0"}, {"outcome": "running", "call": "fc-1"}]}


@pytest.mark.parametrize("state", ["finished", "failed", "stopped", "forgotten"])
def test_a_record_that_was_read_before_its_call_ended_is_read_again(state: str) -> None:
    assert was_under_way(RUNNING, {"fc-1": {"state": state}})


@pytest.mark.parametrize(
    ("record", "states"),
    [
        (RUNNING, {"fc-1": {"state": "running"}}),
        (RUNNING, {"fc-0": {"state": "finished"}}),
        ({"attempts": [{"outcome": "finished", "call": "fc-1"}]}, {"fc-1": {"state": "finished"}}),
        ({"attempts": []}, {}),
        ("no record", {}),
        (None, {}),
    ],
)
def test_a_record_that_says_how_it_stands_is_read_once(record: Any, states: dict[str, dict[str, str]]) -> None:
    assert not was_under_way(record, states)
