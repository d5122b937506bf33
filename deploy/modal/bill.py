"""The bill of a launch by `modal run` alone: told before anything is sent, capped, and written down once it is sent.

What is told and written is what `trimtab train --on modal` tells and writes (trimtab.steps.launching). Where that is
who launches, NOTED is set, and nothing of it is done twice. Is not used in a container.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import modal

from deploy.modal.order import Order
from deploy.modal.results import explained, listed, put, volume_or_none
from trimtab.cost.estimate import HOUR_S, Machine
from trimtab.cost.prices import current_prices
from trimtab.cost.work import machine_from
from trimtab.errors import UsageError
from trimtab.process import ProcessRunner, Runner
from trimtab.project import Project, find_project
from trimtab.steps.launching import Prepared, Wanted, learn, note, prepare, priced
from trimtab.steps.modal_client import NOTED, Server
from trimtab.steps.training import Train
from trimtab.storage.launches import FOLDER, Launch, encoded
from trimtab.units import format_duration, format_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This very client, as a launch asks of Modal."""

    volume: str
    server: Server
    runner: Runner

    def listed(self, run_id: str | None = None) -> Mapping[str, Any]:
        """Return what lies on the Volume of results. Raises ProgramError when Modal does not answer."""
        with explained("list"):
            volume = volume_or_none(self.volume)
            return {} if volume is None else listed(volume, run_id)

    def remember(self, launch: Launch) -> None:
        """Write a launch to the Volume. Raises ProgramError when Modal does not answer."""
        with explained("put"):
            volume = modal.Volume.from_name(self.volume, create_if_missing=True)
            put(volume, f"{FOLDER}/{launch.call_id}.json", encoded(launch))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A training that may be sent: what it is likely to cost was said, and its run has a name and a cap."""

    project: Project
    here: Here
    ready: Prepared

    @classmethod
    def of(cls, root: Path, catalogue: Path, order: Order, *, embedded: bool) -> Self | None:
        """Say what a launch costs; None for one that is no training, or whose caller has said so.

        Raises BudgetError for one that may not cost it, UsageError for a run that runs.
        """
        if os.environ.get(NOTED):
            return None
        project = replace(find_project(catalogue), root=root)
        prices, machine = current_prices(project), machine_from(asdict(order.profile))
        words, function = order.words, order.function
        if function.runs != "train":
            usd_per_hour = sum(machine.usd_per_hour(prices).values())
            _say(_at_most(function.name, machine, usd_per_hour, side_by_side=function.containers))
            return None
        here = Here(
            volume=project.catalogue.modal.results_volume,
            server="embedded modal" if embedded else "modal",
            runner=ProcessRunner(),
        )
        train = Train(job=function.job, run_id=words.run_id, config=order.path, must_resume=words.resume)
        wanted = Wanted(train=train, profile=order.machine, max_usd=words.max_usd or None)
        price = priced(project, wanted, prices, machine)
        if price.basis is None and learn(project, here, function.job):
            price = priced(project, wanted, prices, machine)
        for line in price.told(function.job, wanted.max_usd):
            _say(line)
        ready = prepare(project, here, wanted, prices, machine)
        if ready.run is not None and ready.run.open_call is not None:
            raise UsageError(
                f"the run {ready.run_id} runs already",
                why=f"call {ready.run.open_call} works on it, and two would overwrite each other's checkpoints",
                remedy=f"follow it: trimtab runs follow {ready.run_id}",
            )
        return cls(project=project, here=here, ready=ready)

    def note(self, call: Mapping[str, Any]) -> None:
        """Write down, here and on the Volume, what was sent."""
        note(self.project, self.here, self.ready, call, say=_say)
        run_id = self.ready.run_id
        _say("".join(f"{verb:<10}trimtab runs {verb} {run_id}\n" for verb in ("follow", "stop", "fetch")).rstrip())


def _at_most(name: str, machine: Machine, usd_per_hour: float, *, side_by_side: int) -> str:
    attempts = machine.retries + 1
    most = usd_per_hour * side_by_side * attempts * machine.timeout_s / HOUR_S
    machines = (
        f"{side_by_side} machines at {usd_per_hour:.3f} $/h each" if side_by_side > 1 else f"{usd_per_hour:.3f} $/h"
    )
    return (
        f"{name}: {machines}; all of the {attempts} attempts of {format_duration(machine.timeout_s)}"
        f" that it is allowed cost {format_usd(most)}"
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
