"""What a trainer's tests do with it: steps, a state through a file, and going on from it to the same bit."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from tests.support.training import same
from training.harness.learner import Learner, Milestone

Trained = TypeVar("Trained", bound=Learner)


def advance(learner: Learner, steps: int) -> list[Milestone]:
    """Take steps and return the milestones that were reached; an epoch's end belongs to its last step."""
    reached = [learner.advance() for _ in range(steps)]
    return [milestone for milestone in reached if milestone]


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as a checkpoint gives it back."""
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    loaded: dict[str, Any] = torch.load(stream, weights_only=True)
    return loaded


def assert_goes_on_to_the_same_bit(make: Callable[[], Trained], *, stop_at: int, steps: int) -> Trained:
    """Check that who takes a state over ends where one ends that never stopped, milestones too; return the latter."""
    whole = make()
    expected = advance(whole, steps)

    first = make()
    advance(first, stop_at)
    state = through_a_file(first.state())
    advance(first, 2)  # what happens after the state was taken is not in it
    torch.manual_seed(123)
    second = make()
    advance(second, 1)  # nor is what the one that takes it over did before
    second.load(state)
    after = advance(second, steps - stop_at)
    assert same(through_a_file(second.state()), through_a_file(whole.state()))
    assert after == expected[len(expected) - len(after) :]
    return whole
