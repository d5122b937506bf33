"""A probe: a job on its machine for about a minute, under a name of its own, to see how fast its steps are.

It is a launch like any other, capped by what a few minutes of the machine cost, with its start and its end: priced
before, refused where even that is too dear, in the registry while it runs, and in the ledger when it is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from trimtab.cost.estimate import HOUR_S, Machine
from trimtab.cost.ledger import Ledger
from trimtab.cost.prices import Prices
from trimtab.cost.spending import probe_id, settle, spent_on
from trimtab.errors import BudgetError, ProgramError
from trimtab.project import Project
from trimtab.steps.launching import START_S, Wanted, launch, priced
from trimtab.steps.modal_client import ModalClient
from trimtab.steps.training import Train
from trimtab.storage.registry import Run, read_found, registry_of
from trimtab.units import format_duration, format_usd

_MINUTE_S: Final = 60.0
_SAVING_S: Final = 60.0  # what a capped attempt keeps of its time to save in (training.harness.limits)
_LIMIT_S: Final = 1800.0  # an image may have to be built, and a GPU may have to be waited for
_LOOK_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What was measured, and what it cost beside what it was likely to."""

    run_id: str
    steps: int
    step_s: float
    usd: float
    predicted_usd: float

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / self.step_s


def foretold(
    project: Project, train: Train, machine: Machine, prices: Prices, *, profile: str | None, max_usd: float | None
) -> tuple[Wanted, float]:
    """Return a probe, capped, and what it is likely to cost. Raises BudgetError where its cap alone is over `max_usd`.

    What the whole run is likely to cost is what is asked later: a minute of steps is priced here, and the cap holds it.
    """
    usd_per_hour = sum(machine.usd_per_hour(prices).values())
    allowed_s = START_S + _MINUTE_S + _SAVING_S
    most_usd = allowed_s * usd_per_hour / HOUR_S
    if max_usd is not None and most_usd > max_usd:
        raise BudgetError(
            f"a probe of {train.job} may cost more than all may; nothing was started",
            why=f"up to {format_duration(allowed_s)} at {usd_per_hour:.3f} $/h are {format_usd(most_usd)}"
            f" of {format_usd(max_usd)}",
            remedy="raise --max-usd, take a smaller machine (--profile), or give --steps-per-second",
        )
    named = replace(train, run_id=probe_id(train.job, datetime.now(UTC)))
    wanted = Wanted(train=named, profile=profile, max_usd=most_usd, compute_s=_MINUTE_S)
    likely = priced(project, wanted, prices, machine).likely
    return wanted, likely.usd if likely else most_usd


def probe(
    project: Project, client: ModalClient, wanted: Wanted, prices: Prices, *, say: Callable[[str], None]
) -> Probed:
    """Run a job for about a minute and return how fast it was. Raises ProgramError when it took no step in it."""
    launched = launch(project, client, wanted, prices, say=say)
    run = _until_over(client, launched.run_id, say)
    settle(Ledger(project.state / "ledger.jsonl"), run)
    spent = spent_on(run)[0]
    if not spent.steps or not spent.step_s:
        raise ProgramError(
            f"the probe of {wanted.train.job} took no step, and cost {format_usd(spent.usd)}",
            why=run.error or f"{spent.seconds:.0f} s passed with its start; the run {run.run_id} is {run.state}",
            remedy="measure it in a longer run, and give --steps-per-second",
        )
    return Probed(
        run_id=run.run_id,
        steps=spent.steps,
        step_s=spent.step_s,
        usd=spent.usd,
        predicted_usd=spent.launch.predicted_usd.get("likely", 0.0),
    )


def _until_over(client: ModalClient, run_id: str, say: Callable[[str], None]) -> Run:
    started_s = time.monotonic()
    while time.monotonic() - started_s < _LIMIT_S:
        known = registry_of([read_found("modal", client.listed(run_id))]).runs
        if known and known[0].open_call is None:
            return known[0]
        say(known[0].state if known else "launched")
        time.sleep(_LOOK_EVERY_S)
    raise ProgramError(
        f"the probe {run_id} has not ended within {_LIMIT_S / 60:.0f} minutes",
        why="its machine has not begun, or does not answer",
        remedy=f"stop it: trimtab runs stop {run_id}",
    )
