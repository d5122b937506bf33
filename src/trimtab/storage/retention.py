"""Which checkpoints may be removed: a frozen policy, decided without looking at the disk. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.storage.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Which checkpoints may go: what any part keeps stays. The last, the best and the pinned always stay."""

    keep_last: int = 3
    keep_best: int = 1
    metric: str | None = None
    greater_is_better: bool = True

    def __post_init__(self) -> None:
        """Refuse a policy that could remove the last or the best."""
        if self.keep_last < 1 or self.keep_best < 1:
            raise UsageError(
                f"retention keeps the last {self.keep_last} and the best {self.keep_best}",
                why="the last and the best are never removed",
                remedy="set keep_last and keep_best to 1 or more",
            )

    def best(self, checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
        """Return those with the metric, the best first; of equals the earlier. One that is not a number is no best."""
        metric, sign = self.metric, -1.0 if self.greater_is_better else 1.0
        if metric is None:
            return ()
        measured = [item for item in checkpoints if math.isfinite(item.metrics.get(metric, math.nan))]
        return tuple(sorted(measured, key=lambda item: (sign * item.metrics[metric], item.step)))

    def removable(self, checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint, ...]:
        """Return the checkpoints that nothing keeps, oldest first."""
        in_order = sorted(checkpoints, key=lambda item: item.step)
        kept = {item.step for item in in_order[-self.keep_last :]}
        kept |= {item.step for item in self.best(in_order)[: self.keep_best]}
        return tuple(item for item in in_order if item.step not in kept and not item.pinned)
