"""What a policy lets go, and what nothing can make it let go."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import UsageError
from trimtab.storage.checkpoints import Checkpoint
from trimtab.storage.retention import Retention

BEGAN = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
losses = st.none() | st.sampled_from([0.5, 0.25, math.inf, math.nan]) | st.floats()


@st.composite
def checkpoint_lists(draw: st.DrawFn) -> list[Checkpoint]:
    steps = draw(st.lists(st.integers(0, 50), unique=True, max_size=12))
    return [
        Checkpoint(
            path=Path(f"step-{step}"),
            step=step,
            saved_at=BEGAN + timedelta(minutes=draw(st.integers(0, 30)) + 60 * step),
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
    keep_every_steps=st.none() | st.integers(1, 20),
    keep_every_s=st.none() | st.sampled_from([1.0, 3600.0, 6 * 3600.0, 86_400.0]),
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


def kept_by_the_reference(items: list[Checkpoint], policy: Retention) -> set[int]:
    """Decide for each checkpoint by itself, looking at all the others: slow, and plainly what the policy says."""

    def ranks_before(other: Checkpoint, item: Checkpoint) -> bool:
        mine, theirs = item.metrics["loss"], other.metrics.get("loss", math.nan)
        if not math.isfinite(theirs):
            return False
        better = theirs > mine if policy.greater_is_better else theirs < mine
        return better or (theirs == mine and other.step < item.step)

    kept = set()
    for item in items:
        later = [other for other in items if other.step > item.step]
        earlier = [other for other in items if other.step < item.step]
        is_last = len(later) < policy.keep_last
        is_best = (
            policy.metric is not None
            and math.isfinite(item.metrics.get("loss", math.nan))
            and sum(ranks_before(other, item) for other in items) < policy.keep_best
        )
        every, every_s = policy.keep_every_steps, policy.keep_every_s
        first_of_steps = every is not None and all(other.step // every != item.step // every for other in earlier)
        first_of_time = every_s is not None and all(
            other.saved_at.timestamp() // every_s != item.saved_at.timestamp() // every_s for other in earlier
        )
        if is_last or is_best or first_of_steps or first_of_time or item.pinned:
            kept.add(item.step)
    return kept


@given(checkpoint_lists(), policies)
def test_what_stays_is_the_union_that_the_reference_says(items: list[Checkpoint], policy: Retention) -> None:
    removable = {item.step for item in policy.removable(items)}
    assert {item.step for item in items} - removable == kept_by_the_reference(items, policy)


@given(checkpoint_lists(), policies)
def test_removing_as_one_goes_leaves_what_a_stretch_keeps(items: list[Checkpoint], policy: Retention) -> None:
    """Applied after each save, as the store does it, a policy keeps the first of each stretch to the end."""
    left: list[Checkpoint] = []
    for item in sorted(items, key=lambda item: item.step):
        left.append(item)
        removable = policy.removable(left)
        left = [kept for kept in left if kept not in removable]
    for reason in ("steps", "time"):
        whole = {step for step, why in policy.reasons(items).items() if reason in why}
        assert whole <= {item.step for item in left}


@given(checkpoint_lists(), policies)
def test_applying_a_policy_twice_removes_no_more(items: list[Checkpoint], policy: Retention) -> None:
    removable = policy.removable(items)
    assert policy.removable([item for item in items if item not in removable]) == ()


def test_of_equally_good_ones_the_earlier_is_the_best() -> None:
    items = [Checkpoint(path=Path(), step=step, saved_at=BEGAN, metrics={"loss": 0.5}, files=()) for step in (1, 2, 3)]
    policy = Retention(keep_last=1, metric="loss", greater_is_better=False)
    assert [item.step for item in policy.removable(items)] == [2]


@pytest.mark.parametrize(
    "wrong",
    [{"keep_last": 0}, {"keep_best": 0}, {"keep_last": -1}, {"keep_every_steps": 0}, {"keep_every_s": math.nan}],
)
def test_a_policy_that_makes_no_sense_or_could_remove_the_best_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="retention keeps"):
        Retention(**wrong)  # type: ignore[arg-type]  # of the parameters only the integers are given
