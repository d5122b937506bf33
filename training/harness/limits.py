"""When an attempt stops by itself: early enough before the platform ends it, or its money does, to save. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_SAVES: Final = 2  # one may be under way when the last one is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Something that runs out, by its name in the record (`time`, `budget`). `left_s` says how much is left now.

    `margin_s` is for what cannot be measured beforehand: the first save, ending the process.
    """

    name: str
    left_s: Callable[[], float]
    margin_s: float = 60.0


@dataclass(slots=True, kw_only=True)
class Pace:
    """How long the attempt's steps and saves took at most so far."""

    longest_step_s: float = 0.0
    longest_save_s: float = 0.0
    steps: int = 0

    def note_step(self, took_s: float) -> None:
        """Note a step, with the measuring at an epoch's end where it had one."""
        self.longest_step_s = max(self.longest_step_s, took_s)
        self.steps += 1

    def note_save(self, took_s: float) -> None:
        """Note a save, from copying the state to the last commit."""
        self.longest_save_s = max(self.longest_save_s, took_s)

    def reached(self, limits: tuple[Limit, ...]) -> str | None:
        """Return the name of the limit that leaves no room for another step and a checkpoint after it, or None.

        An attempt's first step is made unless the limit is passed: else a short attempt would never get on.
        """
        for limit in limits:
            needed_s = limit.margin_s + _SAVES * self.longest_save_s + self.longest_step_s if self.steps else 0.0
            if limit.left_s() <= needed_s:
                return limit.name
        return None
