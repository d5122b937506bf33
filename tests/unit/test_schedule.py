"""What steps take together: the order with the lowest peak, and what running side by side can come to."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.plan import Cost
from trimtab.schedule import least_peak_order, makespan_of, peak_of, peak_side_by_side


def cost(peak: int, kept: int) -> Cost:
    return Cost(peak_bytes=peak, kept_bytes=kept, memory_bytes=None, wall_s=0)


def named(*pairs: tuple[int, int]) -> dict[str, Cost]:
    return {f"s{index}": cost(peak, kept) for index, (peak, kept) in enumerate(pairs)}


_PAIRS = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda pair: (max(pair), min(pair)))
_COSTS = st.lists(_PAIRS, max_size=5).map(lambda pairs: named(*pairs))
_DAG = st.lists(st.tuples(_PAIRS, st.sets(st.integers(0, 4))), min_size=1, max_size=5)


@given(_COSTS)
def test_no_order_has_a_lower_peak_than_the_one_that_is_taken(costs: dict[str, Cost]) -> None:
    peaks = [peak_of([costs[name] for name in order]) for order in permutations(costs)]
    assert peak_of([costs[name] for name in least_peak_order(costs)]) == min(peaks)


def test_the_one_that_gives_back_most_comes_first_and_equals_stay_in_their_order() -> None:
    costs = {"keeps": cost(10, 10), "gives back": cost(8, 1), "keeps too": cost(5, 5)}
    assert least_peak_order(costs) == ("gives back", "keeps", "keeps too")


def every_run(costs: dict[str, Cost], needs: dict[str, frozenset[str]], jobs: int) -> int:
    """Return the highest peak over every way in which steps can begin and end, tried out one by one."""
    seen: set[tuple[frozenset[str], frozenset[str]]] = set()
    highest = 0

    def follow(done: frozenset[str], running: frozenset[str]) -> None:
        nonlocal highest
        if (done, running) in seen:
            return
        seen.add((done, running))
        used = sum(costs[name].kept_bytes for name in done) + sum(costs[name].peak_bytes for name in running)
        highest = max(highest, used)
        for name in running:
            follow(done | {name}, running - {name})
        if len(running) < jobs:
            for name in costs.keys() - done - running:
                if needs[name] <= done:
                    follow(done, running | {name})

    follow(frozenset(), frozenset())
    return highest


@given(_DAG, st.integers(1, 3))
def test_the_peak_side_by_side_is_the_highest_of_every_possible_run(
    steps: list[tuple[tuple[int, int], set[int]]], jobs: int
) -> None:
    costs = named(*(pair for pair, _ in steps))
    needs = {f"s{i}": frozenset(f"s{n}" for n in before if n < i) for i, (_, before) in enumerate(steps)}
    assert peak_side_by_side(costs, needs, jobs=jobs) == every_run(costs, needs, jobs)


FREE = {"a": frozenset[str](), "b": frozenset[str](), "c": frozenset({"a"})}


@pytest.mark.parametrize(("jobs", "expected"), [(1, 9), (2, 6), (3, 6)])
def test_the_time_side_by_side_is_that_of_the_longest_way(jobs: int, expected: float) -> None:
    assert makespan_of({"a": 2, "b": 3, "c": 4}, FREE, jobs=jobs) == expected


def test_nothing_takes_no_time_and_no_disk() -> None:
    assert makespan_of({}, {}, jobs=2) == 0
    assert peak_side_by_side({}, {}, jobs=2) == 0
