"""Whether images fit where they are built: the unfinished part of their plan against the budgets and the free disk.

Looks at the file systems; writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from trimtab.catalogue import Budgets
from trimtab.errors import BudgetError
from trimtab.executor import rooms
from trimtab.plan import Disk, Plan, judge
from trimtab.steps.plans import LOCAL_VARIANT
from trimtab.units import MIB, format_size

MOST_JOBS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """What does not fit, said in one line, and the disk that it lacks (0 where it lacks something else)."""

    text: str
    remedy: str
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A plan that is left to do, as many jobs side by side as were asked for, and what it lacks."""

    left: Plan
    most_jobs: int
    shortages: tuple[Shortage, ...]

    def require(self, *, variant: str) -> None:
        """Raise BudgetError, with every way out, unless it fits."""
        if self.shortages:
            raise BudgetError(
                "the images do not fit; nothing was written",
                why="; ".join(shortage.text for shortage in self.shortages),
                remedy="; or ".join(self.options(variant=variant)),
            )

    def options(self, *, variant: str) -> tuple[str, ...]:
        """Return what would make it fit, the cheapest first; nothing when it does."""
        if not self.shortages:
            return ()
        lacking = max(shortage.disk_bytes for shortage in self.shortages)
        ways = []
        if self.left.jobs > 1 and self.most_jobs:
            ways.append(f"build {_count(self.most_jobs)} at a time: --jobs {self.most_jobs}")
        if lacking:
            ways.append(f"clean: trimtab disk free --need {-(-lacking // MIB)}MiB")
        if variant != LOCAL_VARIANT:
            ways.append(f"build the smaller variant: --variant {LOCAL_VARIANT}")
        return (*ways, *dict.fromkeys(shortage.remedy for shortage in self.shortages))


def fit(left: Plan, budgets: Budgets, folders: Mapping[Disk, Path], *, jobs: int | None) -> Fit:
    """Return how a plan fits with as many jobs, or, for None, with as many as fit and the cores can serve."""
    builds = sum(step.name.startswith("image:") for step in left.steps)
    most = max(1, min(builds, MOST_JOBS, os.cpu_count() or 1)) if jobs is None else jobs
    fitting = [count for count in range(1, most + 1) if not _shortages(replace(left, jobs=count), budgets, folders)]
    most_jobs = max(fitting, default=0)
    chosen = replace(left, jobs=jobs or max(1, most_jobs))
    return Fit(left=chosen, most_jobs=most_jobs, shortages=_shortages(chosen, budgets, folders))


def _shortages(left: Plan, budgets: Budgets, folders: Mapping[Disk, Path]) -> tuple[Shortage, ...]:
    found = [
        Shortage(
            text=f"{verdict.budget}: they need {verdict.need_text} and may take {verdict.limit_text}",
            remedy=verdict.remedy,
        )
        for verdict in judge(left, budgets)
        if not verdict.fits
    ]
    for folder, need, free in rooms(left, folders):
        if free < need:
            text = f"{folder}: they need {format_size(need)} at their peak and {format_size(free)} is free"
            remedy = f"take a disk with {format_size(need - free)} more"
            found.append(Shortage(text=text, remedy=remedy, disk_bytes=need - free))
    return tuple(found)


def _count(jobs: int) -> str:
    return "one" if jobs == 1 else str(jobs)
