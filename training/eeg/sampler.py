"""Which windows an epoch learns from: balanced, and a function of seed and epoch, so that any place can be resumed at.

All windows partly in a seizure, 0.3 times as many wholly in one, 2.5 times as many without: of TUSZ's 303,990 windows
61,616, 34.2 % of them with seizure. Which of the many without are taken changes with the epoch. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.eeg.windows import FULL, NONE, PARTIAL
from trimtab.errors import HealthError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.eeg.config import Sampling

_ORDER, _SHUFFLE = 1, 2  # independent streams of one seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """How many windows of each kind there are, or are taken."""

    partial: int
    full: int
    none: int

    @property
    def total(self) -> int:
        """Return the windows of all kinds."""
        return self.partial + self.full + self.none

    @property
    def seizure_part(self) -> float:
        """Return the part of windows with any seizure."""
        return (self.partial + self.full) / self.total


class BalancedSampler:
    """Draws an epoch's windows from the kind of each."""

    def __init__(self, kinds: NDArray[np.integer[Any]], how: Sampling, *, seed: int) -> None:
        """Raise HealthError where no window is partly in a seizure: nothing could be learnt."""
        self._seed = seed
        self._partial, self._full, self._none = (np.flatnonzero(kinds == kind) for kind in (PARTIAL, FULL, NONE))
        self.there = Balance(partial=len(self._partial), full=len(self._full), none=len(self._none))
        if not self.there.partial:
            raise HealthError(
                "there is nothing to learn: no training window is partly in a seizure",
                why=f"of {self.there.total} windows {self.there.full} are wholly in one and {self.there.none} without",
                remedy="look at the annotations that were read: a wrong column or label leaves no seizure",
            )
        self.taken = Balance(
            partial=self.there.partial,
            full=min(self.there.full, int(how.full_per_partial * self.there.partial)),
            none=min(self.there.none, int(how.none_per_partial * self.there.partial)),
        )

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return an epoch's windows, shuffled."""
        random = np.random.default_rng([self._seed, _ORDER, epoch])
        full = random.choice(self._full, self.taken.full, replace=False)
        none = random.choice(self._none, self.taken.none, replace=False)
        return random.permutation(np.concatenate([self._partial, full, none]))


def shuffled(count: int, *, seed: int) -> NDArray[np.int64]:
    """Return whose label each window gets in the control that must learn nothing."""
    return np.random.default_rng([seed, _SHUFFLE]).permutation(count)
