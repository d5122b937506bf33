"""What a policy lets go, and what nothing can make it let go."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.storage.checkpoints import Checkpoint
from trimtab.storage.retention import Retention

losses = st.none() | st.sampled_from([0.5, 0.25, math.inf, math.nan]) | st.floats()


@st.composite
def checkpoint_lists(draw: st.DrawFn) -> list[Checkpoint]:
    steps = draw(st.lists(st.integers(0, 50), unique=True, max_size=12))
    return [
        Checkpoint(
            path=Path(f"step-{step}"),
            step=step,
            metrics={} if (loss := draw(losses)) is None else {"loss": loss},
            files=(),
            pinned=draw(st.booleans()),
        )
        for step in steps
    ]


policies = st.builds(
    Retention,
    keep_last=st.integers(1, 4),
    keep_best=st.integers(1, 3),
    metric=st.sampled_from([None, "loss"]),
    greater_is_better=st.booleans(),
)


@given(checkpoint_lists(), policies)
def test_the_last_the_best_and_the_pinned_are_never_removed(items: list[Checkpoint], policy: Retention) -> None:
    removable = policy.removable(items)
    left = [item for item in items if item not in removable]
    assert all(item in left for item in items if item.pinned)
    if items:
        assert max(items, key=lambda item: item.step) in left
    values = [item.metrics["loss"] for item in items if math.isfinite(item.metrics.get("loss", math.nan))]
    if policy.metric and values:
        best = max(values) if policy.greater_is_better else min(values)
        assert best in [item.metrics.get("loss") for item in left]


@given(checkpoint_lists(), policies)
def test_no_more_stays_than_the_policy_asks_for(items: list[Checkpoint], policy: Retention) -> None:
    kept = len(items) - len(policy.removable(items))
    assert kept <= policy.keep_last + policy.keep_best + sum(item.pinned for item in items)


@given(checkpoint_lists(), policies)
def test_applying_a_policy_twice_removes_no_more(items: list[Checkpoint], policy: Retention) -> None:
    removable = policy.removable(items)
    assert policy.removable([item for item in items if item not in removable]) == ()


def test_of_equally_good_ones_the_earlier_is_the_best() -> None:
    items = [Checkpoint(path=Path(), step=step, metrics={"loss": 0.5}, files=()) for step in (1, 2, 3)]
    policy = Retention(keep_last=1, metric="loss", greater_is_better=False)
    assert [item.step for item in policy.removable(items)] == [2]


@pytest.mark.parametrize("wrong", [{"keep_last": 0}, {"keep_best": 0}, {"keep_last": -1}])
def test_a_policy_that_could_remove_the_last_or_the_best_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="retention keeps"):
        Retention(**wrong)  # type: ignore[arg-type]  # of the parameters only the integers are given
