"""A Plan is what will be done, as data: frozen steps with their predicted disk, memory, time and money. Pure.

The executor runs it, another only shows it; the budget check reads it before either does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from trimtab.errors import BudgetError
from trimtab.schedule import makespan_of, peak_of, peak_side_by_side
from trimtab.units import MIB, format_duration, format_size, format_usd

if TYPE_CHECKING:
    from collections.abc import Container

    from trimtab.catalogue import Budgets


Disk = Literal["engine", "state"]


class Action(Protocol):
    """Frozen data that says what a step does; the executor has one handler for each type of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a step takes, predicted or measured.

    `peak_bytes` is disk above what stood before the step while it runs, `kept_bytes` what remains of it afterwards;
    `memory_bytes` is the step's own peak, None where it cannot be told.
    """

    peak_bytes: int
    kept_bytes: int
    memory_bytes: int | None
    wall_s: float
    usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do: its stable name (the ledger's key), what it says to a person, and what it is to take.

    `needs` names the steps without which it cannot run; None means every step before it. `disk` says where it writes:
    into the engine, or into the project's state.
    """

    name: str
    title: str
    action: Action
    predicted: Cost
    basis: Literal["declared", "ledger"] = "declared"
    needs: tuple[str, ...] | None = None
    disk: Disk = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps, in the order in which they run; `jobs` of them may run at the same time where none needs another."""

    steps: tuple[Step, ...]
    jobs: int = 1

    @property
    def peak_bytes(self) -> int:
        """The highest disk use above the start: what finished steps keep plus what the running ones need."""
        if self.jobs == 1:
            return peak_of([step.predicted for step in self.steps])
        return peak_side_by_side(self.costs(), self.needs(), jobs=self.jobs)

    @property
    def memory_bytes(self) -> int:
        """The largest steps, as many as run at the same time."""
        largest = sorted((step.predicted.memory_bytes or 0 for step in self.steps), reverse=True)
        return sum(largest[: self.jobs])

    @property
    def wall_s(self) -> float:
        return makespan_of({step.name: step.predicted.wall_s for step in self.steps}, self.needs(), jobs=self.jobs)

    @property
    def usd(self) -> float:
        return sum(step.predicted.usd for step in self.steps)

    def costs(self) -> dict[str, Cost]:
        """Return what each step is to take, by its name."""
        return {step.name: step.predicted for step in self.steps}

    def needs(self) -> dict[str, frozenset[str]]:
        """Return for each step the names of those in this plan that must be done before it."""
        before: list[str] = []
        found: dict[str, frozenset[str]] = {}
        for step in self.steps:
            found[step.name] = frozenset(before if step.needs is None else set(step.needs).intersection(before))
            before.append(step.name)
        return found

    def on(self, disks: Container[Disk]) -> Plan:
        """Return the plan's part that writes there."""
        return replace(self, steps=tuple(step for step in self.steps if step.disk in disks))

    def without(self, names: Container[str]) -> Plan:
        """Return the plan that is left when these steps are done."""
        return replace(self, steps=tuple(step for step in self.steps if step.name not in names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One budget held against what the plan needs; the numbers are also there as a person reads them."""

    budget: Literal["disk", "memory", "time", "usd"]
    need: float
    limit: float
    need_text: str
    limit_text: str
    remedy: str

    @property
    def fits(self) -> bool:
        return self.need <= self.limit


def judge(plan: Plan, budgets: Budgets) -> tuple[Verdict, ...]:
    """Return one verdict per budget. A remedy's number can be written into trimtab.yaml as it stands, and is enough."""
    widest = max(plan.steps, key=lambda step: step.predicted.peak_bytes, default=None)
    largest = max(plan.steps, key=lambda step: step.predicted.memory_bytes or 0, default=None)
    longest = max(plan.steps, key=lambda step: step.predicted.wall_s, default=None)
    return (
        Verdict(
            budget="disk",
            need=plan.peak_bytes,
            limit=budgets.disk,
            need_text=format_size(plan.peak_bytes),
            limit_text=format_size(budgets.disk),
            remedy=f"raise budgets.disk to {_enough_mib(plan.peak_bytes)}, or cut {widest and widest.name}",
        ),
        Verdict(
            budget="memory",
            need=plan.memory_bytes,
            limit=budgets.memory,
            need_text=format_size(plan.memory_bytes),
            limit_text=format_size(budgets.memory),
            remedy=f"raise budgets.memory to {_enough_mib(plan.memory_bytes)}, or cut {largest and largest.name}",
        ),
        Verdict(
            budget="time",
            need=plan.wall_s,
            limit=budgets.time,
            need_text=format_duration(plan.wall_s),
            limit_text=format_duration(budgets.time),
            remedy=f"raise budgets.time to {math.ceil(plan.wall_s)}s, or cut {longest and longest.name}",
        ),
        Verdict(
            budget="usd",
            need=plan.usd,
            limit=budgets.usd,
            need_text=format_usd(plan.usd),
            limit_text=format_usd(budgets.usd),
            remedy=f"raise budgets.usd to {math.ceil(plan.usd * 100) / 100:.2f}, or take a smaller GPU",
        ),
    )


def _enough_mib(size_bytes: int) -> str:
    return f"{math.ceil(size_bytes / MIB)}MiB"


def require_fit(plan: Plan, budgets: Budgets) -> tuple[Verdict, ...]:
    """Return the verdicts. Raises BudgetError, naming every budget that is exceeded and its remedy."""
    verdicts = judge(plan, budgets)
    over = [verdict for verdict in verdicts if not verdict.fits]
    if over:
        raise BudgetError(
            "the plan does not fit its budget; nothing was written",
            why="; ".join(f"{v.budget}: it needs {v.need_text} and may take {v.limit_text}" for v in over),
            remedy="; ".join(v.remedy for v in over) + " (trimtab.yaml; `trimtab plan` shows each step)",
        )
    return verdicts
