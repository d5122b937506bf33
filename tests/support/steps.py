"""Steps that do what a test tells them, and a handler that writes down what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from trimtab.executor import Result, Say
from trimtab.plan import Cost, Plan, Step

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something to do, by its name."""

    name: str


def task_step(
    name: str, *, peak_bytes: int = MIB, kept_bytes: int = MIB, wall_s: float = 1, needs: tuple[str, ...] | None = None
) -> Step:
    """Return the step of a task."""
    cost = Cost(peak_bytes=peak_bytes, kept_bytes=kept_bytes, memory_bytes=None, wall_s=wall_s)
    return Step(name=name, title=f"doing {name}", action=Task(name=name), predicted=cost, needs=needs)


def plan_of(*names: str) -> Plan:
    """Return a plan of small tasks."""
    return Plan(steps=tuple(task_step(name) for name in names))


@dataclass
class RecordingHandler:
    """Writes down each call; a task that ran is finished from then on.

    `refuses` are raised by the preflight, `does` is called instead of nothing when a task runs.
    """

    refuses: dict[str, Exception] = field(default_factory=dict)
    does: dict[str, Callable[[Say], object]] = field(default_factory=dict)
    done: dict[str, Result] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def preflight(self, action: Task) -> None:
        self.calls.append(f"preflight {action.name}")
        if action.name in self.refuses:
            raise self.refuses[action.name]

    def finished(self, action: Task) -> Result | None:
        self.calls.append(f"finished {action.name}?")
        return self.done.get(action.name)

    def run(self, action: Task, say: Say) -> Result:
        self.calls.append(f"run {action.name}")
        if action.name in self.does:
            self.does[action.name](say)
        self.done[action.name] = {"made": action.name}
        return self.done[action.name]

    @property
    def ran(self) -> list[str]:
        """What was really carried out, in order."""
        return [call.removeprefix("run ") for call in self.calls if call.startswith("run ")]
