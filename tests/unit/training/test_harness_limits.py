"""When an attempt stops by itself: with room for what is under way, for another step, and for saving after it."""

from __future__ import annotations

import pytest

from training.harness.limits import Limit, Pace


def stops(pace: Pace, left_s: float) -> str | None:
    return pace.reached((Limit(name="time", left_s=lambda: left_s, margin_s=60.0),))


def test_room_is_left_for_two_saves_and_the_longest_step_beyond_the_margin() -> None:
    pace = Pace()
    for step_s in (3.0, 7.0, 2.0):
        pace.note_step(step_s)
    for save_s in (4.0, 10.0, 1.0):
        pace.note_save(save_s)
    needed_s = 60.0 + 2 * 10.0 + 7.0
    assert stops(pace, needed_s) == "time"
    assert stops(pace, needed_s + 0.1) is None


def test_before_its_first_step_only_a_limit_that_is_passed_stops_an_attempt() -> None:
    assert stops(Pace(longest_save_s=10.0), 0.1) is None
    assert stops(Pace(), 0.0) == "time"


@pytest.mark.parametrize(
    ("time_s", "budget_s", "reason"), [(9.0, 500.0, "time"), (500.0, 9.0, "budget"), (9.0, 9.0, "time")]
)
def test_the_limit_that_is_reached_is_named(time_s: float, budget_s: float, reason: str) -> None:
    limits = (Limit(name="time", left_s=lambda: time_s), Limit(name="budget", left_s=lambda: budget_s))
    assert Pace(steps=1).reached(limits) == reason
    assert Pace(steps=1).reached(()) is None
