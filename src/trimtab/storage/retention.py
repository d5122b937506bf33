"""Which checkpoints may be removed: a frozen policy, decided without looking at the disk. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from trimtab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


class Saved(Protocol):
    """What a policy goes by: when a checkpoint was saved, how good it is, and whether a person wants it kept."""

    @property
    def step(self) -> int: ...
    @property
    def saved_at(self) -> datetime: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...
    @property
    def pinned(self) -> bool: ...


Item = TypeVar("Item", bound=Saved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which checkpoints may go: what any part keeps stays. The last, the best and the pinned always stay.

    `keep_every_steps` and `keep_every_s` cut the run into stretches of steps or of time and keep the first checkpoint
    of each; None: none is kept for that. A checkpoint that is kept so once is kept so ever after.
    """

    keep_last: int = 3
    keep_best: int = 1
    keep_every_steps: int | None = None
    keep_every_s: float | None = None
    metric: str | None = None
    greater_is_better: bool = True

    def __post_init__(self) -> None:
        """Refuse a policy that could remove the last or the best, or that has stretches of no length."""
        if self.keep_last < 1 or self.keep_best < 1:
            raise UsageError(
                f"retention keeps the last {self.keep_last} and the best {self.keep_best}",
                why="the last and the best are never removed",
                remedy="set keep_last and keep_best to 1 or more",
            )
        if any(stretch is not None and not stretch > 0 for stretch in (self.keep_every_steps, self.keep_every_s)):
            raise UsageError(
                f"retention keeps one checkpoint every {self.keep_every_steps} steps and {self.keep_every_s} s",
                why="a stretch must be longer than nothing",
                remedy="set keep_every_steps to 1 or more and keep_every_s above 0, or leave them out",
            )

    def best(self, checkpoints: Sequence[Item]) -> tuple[Item, ...]:
        """Return those with the metric, the best first; of equals the earlier. One that is not a number is no best."""
        metric, sign = self.metric, -1.0 if self.greater_is_better else 1.0
        if metric is None:
            return ()
        measured = [item for item in checkpoints if math.isfinite(item.metrics.get(metric, math.nan))]
        return tuple(sorted(measured, key=lambda item: (sign * item.metrics[metric], item.step)))

    def reasons(self, checkpoints: Sequence[Saved]) -> dict[int, tuple[str, ...]]:
        """Return for each step, oldest first, why its checkpoint stays; an empty tuple where nothing keeps it."""
        in_order = sorted(checkpoints, key=lambda item: item.step)
        found: dict[int, list[str]] = {item.step: [] for item in in_order}
        for item in in_order[-self.keep_last :]:
            found[item.step].append("last")
        for item in self.best(in_order)[: self.keep_best]:
            found[item.step].append("best")
        for name, stretch_of in (("steps", self._stretch_of_steps), ("time", self._stretch_of_time)):
            seen: set[int] = set()
            for item in in_order:
                stretch = stretch_of(item)
                if stretch is not None and stretch not in seen:
                    seen.add(stretch)
                    found[item.step].append(name)
        for item in in_order:
            if item.pinned:
                found[item.step].append("pinned")
        return {step: tuple(why) for step, why in found.items()}

    def removable(self, checkpoints: Sequence[Item]) -> tuple[Item, ...]:
        """Return the checkpoints that nothing keeps, oldest first."""
        reasons = self.reasons(checkpoints)
        return tuple(item for item in sorted(checkpoints, key=lambda item: item.step) if not reasons[item.step])

    def _stretch_of_steps(self, item: Saved) -> int | None:
        return None if self.keep_every_steps is None else item.step // self.keep_every_steps

    def _stretch_of_time(self, item: Saved) -> int | None:
        return None if self.keep_every_s is None else int(item.saved_at.timestamp() // self.keep_every_s)
