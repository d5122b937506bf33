"""A plan held against its budgets: peaks, verdicts, and remedies that really mend."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.catalogue import Budgets
from trimtab.errors import BudgetError
from trimtab.plan import Cost, Plan, Step, judge, peak_of, require_fit
from trimtab.units import GIB, KIB, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """An action that does nothing."""


def step(
    name: str, *, peak: int = 0, kept: int = 0, memory: int | None = None, wall_s: float = 0, usd: float = 0
) -> Step:
    cost = Cost(peak_bytes=peak, kept_bytes=kept, memory_bytes=memory, wall_s=wall_s, usd=usd)
    return Step(name=name, title=name, action=Pack(), predicted=cost)


def budgets(**changes: str | float) -> Budgets:
    return Budgets.model_validate({"disk": "4GiB", "memory": "4GiB", "time": "10min", "usd": 0, **changes})


WIDE = step("wide", peak=3 * GIB, kept=1 * GIB, memory=512 * MIB, wall_s=30)
LONG = step("long", peak=1 * GIB, kept=1 * GIB, memory=3 * GIB, wall_s=300, usd=2.5)
PLAN = Plan(steps=(WIDE, LONG))
ENOUGH = budgets(disk="4GiB", memory="4GiB", time="10min", usd=3)


def test_a_plan_adds_time_and_money_and_takes_the_largest_memory() -> None:
    assert (PLAN.wall_s, PLAN.usd, PLAN.memory_bytes) == (330, 2.5, 3 * GIB)


def test_an_empty_plan_takes_nothing() -> None:
    empty = Plan(steps=())
    assert (empty.peak_bytes, empty.memory_bytes, empty.wall_s, empty.usd) == (0, 0, 0, 0)
    assert require_fit(empty, budgets(disk="0B", usd=0))


def test_what_earlier_steps_keep_counts_towards_the_peak_of_later_ones() -> None:
    assert peak_of([WIDE.predicted, LONG.predicted]) == 3 * GIB
    assert peak_of([LONG.predicted, WIDE.predicted]) == 4 * GIB


_COSTS = st.lists(
    st.builds(
        lambda peak, kept: Cost(peak_bytes=peak, kept_bytes=min(kept, peak), memory_bytes=None, wall_s=0),
        st.integers(0, 12),
        st.integers(0, 12),
    ),
    max_size=8,
)


@given(_COSTS)
def test_the_peak_is_that_of_a_disk_filled_byte_by_byte(costs: list[Cost]) -> None:
    used = highest = 0
    for cost in costs:
        before = used
        for _ in range(cost.peak_bytes):
            used += 1
            highest = max(highest, used)
        while used > before + cost.kept_bytes:
            used -= 1
    assert peak_of(costs) == highest


@given(_COSTS)
def test_the_peak_never_falls_when_a_step_is_added(costs: list[Cost]) -> None:
    peaks = [peak_of(costs[:count]) for count in range(len(costs) + 1)]
    assert peaks == sorted(peaks)


def test_a_plan_within_its_budgets_has_four_verdicts_that_fit() -> None:
    verdicts = require_fit(PLAN, ENOUGH)
    assert [(v.budget, v.need, v.limit, v.fits) for v in verdicts] == [
        ("disk", 3 * GIB, 4 * GIB, True),
        ("memory", 3 * GIB, 4 * GIB, True),
        ("time", 330, 600, True),
        ("usd", 2.5, 3, True),
    ]


def test_a_need_that_is_exactly_its_limit_fits() -> None:
    assert require_fit(PLAN, budgets(disk="3GiB", memory="3GiB", time="330s", usd=2.5))


@pytest.mark.parametrize(
    ("limits", "exceeded", "remedy"),
    [
        ({"disk": "2GiB"}, "disk: it needs 3.0 GiB and may take 2.0 GiB", "raise budgets.disk to 3072MiB, or cut wide"),
        ({"memory": "1GiB"}, "memory: it needs 3.0 GiB and may", "raise budgets.memory to 3072MiB, or cut long"),
        (
            {"time": "1min"},
            "time: it needs 5 min 30 s and may take 1 min 00 s",
            "raise budgets.time to 330s, or cut long",
        ),
        ({"usd": 1}, "usd: it needs 2.50 $ and may take 1.00 $", "raise budgets.usd to 2.50, or take a smaller GPU"),
    ],
)
def test_over_budget_is_exit_code_6_and_names_the_number_and_the_step(
    limits: dict[str, str], exceeded: str, remedy: str
) -> None:
    with pytest.raises(BudgetError, match="nothing was written") as caught:
        require_fit(PLAN, budgets(**{"disk": "4GiB", "memory": "4GiB", "time": "10min", "usd": 3, **limits}))
    assert caught.value.exit_code == 6
    assert exceeded in caught.value.why
    assert remedy in caught.value.remedy
    assert "trimtab.yaml; `trimtab plan` shows each step" in caught.value.remedy


def test_every_budget_that_is_exceeded_is_named_at_once() -> None:
    with pytest.raises(BudgetError) as caught:
        require_fit(PLAN, budgets(disk="1MiB", memory="1MiB", time="1s", usd=0))
    assert [part.split(":")[0] for part in caught.value.why.split("; ")] == ["disk", "memory", "time", "usd"]


@given(st.integers(1, 64 * GIB), st.integers(1, 64 * GIB), st.floats(0.001, 1e6), st.floats(0.0001, 1e4))
def test_a_budget_raised_as_the_remedy_says_is_then_enough(disk: int, memory: int, wall_s: float, usd: float) -> None:
    plan = Plan(steps=(step("one", peak=disk, memory=memory, wall_s=wall_s, usd=usd),))
    told = {v.budget: v.remedy.split(" to ")[1].split(",")[0] for v in judge(plan, budgets())}
    assert require_fit(plan, budgets(**{**told, "usd": float(told["usd"])}))


@given(st.integers(1, 64 * GIB))
def test_a_remedy_asks_for_no_more_than_a_mebibyte_too_much(disk: int) -> None:
    plan = Plan(steps=(step("one", peak=disk),))
    told = judge(plan, budgets(disk="0B"))[0].remedy.split(" to ")[1].split("MiB")[0]
    assert 0 <= int(told) * MIB - disk < MIB


def test_a_step_whose_memory_is_not_known_does_not_count() -> None:
    unknown = replace(WIDE, predicted=replace(WIDE.predicted, memory_bytes=None))
    assert Plan(steps=(unknown, step("small", memory=KIB))).memory_bytes == KIB
