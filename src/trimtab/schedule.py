"""What steps take together: one after the other in their order, or side by side where none needs another. Pure.

Steps are names here; what each takes and which it needs are given beside it. Every need stands before what needs it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

Needs = Mapping[str, frozenset[str]]


class Footprint(Protocol):
    """What a step takes of the disk: at its peak, and for keeps."""

    @property
    def peak_bytes(self) -> int:
        """Above what stood before it, while it runs."""

    @property
    def kept_bytes(self) -> int:
        """Of that, what remains."""


def peak_of(costs: Sequence[Footprint]) -> int:
    """Return the peak disk of costs that are paid one after the other."""
    kept_before = accumulate((cost.kept_bytes for cost in costs), initial=0)
    return max((kept + cost.peak_bytes for kept, cost in zip(kept_before, costs, strict=False)), default=0)


def peak_side_by_side(costs: Mapping[str, Footprint], needs: Needs, *, jobs: int) -> int:
    """Return the most disk that any order may take in which up to `jobs` steps run at the same time.

    Whatever runs together, each other step may be finished by then unless it waits for one of these.
    """
    after = _ancestors(needs)
    highest = 0
    for together in _independent(tuple(costs), after, jobs):
        kept = sum(
            cost.kept_bytes
            for name, cost in costs.items()
            if name not in together and not after[name].intersection(together)
        )
        highest = max(highest, kept + sum(costs[name].peak_bytes for name in together))
    return highest


def makespan_of(wall_s: Mapping[str, float], needs: Needs, *, jobs: int) -> float:
    """Return the seconds that all steps take when up to `jobs` run at the same time, each as soon as it can."""
    waiting = list(wall_s)
    done: set[str] = set()
    running: list[tuple[float, str]] = []
    now_s = 0.0
    while waiting or running:
        for name in [name for name in waiting if needs[name] <= done][: jobs - len(running)]:
            waiting.remove(name)
            heapq.heappush(running, (now_s + wall_s[name], name))
        now_s, ended = heapq.heappop(running)
        done.add(ended)
    return now_s


def least_peak_order(costs: Mapping[str, Footprint]) -> tuple[str, ...]:
    """Return the order in which independent steps, one after the other, have the lowest peak.

    The one that gives back most comes first: exchanging two neighbours that stand otherwise never lowers the peak.
    Equals stay in the order in which they were given.
    """
    return tuple(sorted(costs, key=lambda name: costs[name].kept_bytes - costs[name].peak_bytes))


def _ancestors(needs: Needs) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for name, direct in needs.items():
        found[name] = direct.union(*(found[before] for before in direct))
    return found


def _independent(names: tuple[str, ...], after: Needs, most: int) -> Iterator[frozenset[str]]:
    """Yield every set of up to `most` steps of which none waits for another."""

    def extend(together: frozenset[str], start: int) -> Iterator[frozenset[str]]:
        for index in range(start, len(names)):
            name = names[index]
            if not after[name] & together:
                larger = together | {name}
                yield larger
                if len(larger) < most:
                    yield from extend(larger, index + 1)

    return extend(frozenset(), 0)
