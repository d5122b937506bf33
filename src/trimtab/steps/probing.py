"""A probe: a job on its machine for about a minute, under a name of its own, to see how fast its steps are.

It is a launch like any other, capped by time. It costs a few minutes of the machine, with its start and its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from trimtab.cost.estimate import HOUR_S
from trimtab.cost.prices import Prices
from trimtab.cost.spending import spent_on
from trimtab.cost.work import machine_of
from trimtab.errors import ProgramError
from trimtab.project import Project
from trimtab.steps.launching import START_S, Wanted, launch
from trimtab.steps.modal_client import ModalClient
from trimtab.steps.training import Train
from trimtab.storage.registry import Run, read_found, registry_of

_MINUTE_S: Final = 60.0
_SAVING_S: Final = 60.0  # what a capped attempt keeps of its time to save in (training.harness.limits)
_LIMIT_S: Final = 1800.0  # an image may have to be built, and a GPU may have to be waited for
_LOOK_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What was measured."""

    steps: int
    step_s: float
    usd: float

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / self.step_s


def probe(
    project: Project,
    client: ModalClient,
    train: Train,
    prices: Prices,
    *,
    profile: str | None,
    say: Callable[[str], None],
) -> Probed:
    """Run a job for about a minute and return how fast it was. Raises ProgramError when it took no step in it."""
    usd_per_hour = sum(machine_of(project, client.runner, train.job, profile=profile).usd_per_hour(prices).values())
    allowed_s = START_S + _MINUTE_S + _SAVING_S
    named = replace(train, run_id=f"{train.job}-probe-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    # What the whole run is likely to cost is what is asked here: no time is given, and the cap holds the probe.
    wanted = Wanted(train=named, profile=profile, max_usd=allowed_s * usd_per_hour / HOUR_S, compute_s=_MINUTE_S)
    launched = launch(project, client, wanted, prices, say=say)
    run = _until_over(client, launched.run_id, say)
    spent = spent_on(run)[0]
    if not spent.steps or not spent.step_s:
        raise ProgramError(
            f"the probe of {train.job} took no step",
            why=run.error or f"{spent.seconds:.0f} s passed with its start; the run {run.run_id} is {run.state}",
            remedy="measure it in a longer run, and give --steps-per-second",
        )
    return Probed(steps=spent.steps, step_s=spent.step_s, usd=spent.usd)


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
