"""Launch a job on Modal: priced first, sent once, remembered here and on the Volume, and left alone.

What is refused (no token, too dear, wrong words) is refused before anything is sent. The same inputs are the same run:
one that runs or has finished is not sent again, one that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trimtab.cost.estimate import HOUR_S, Case, Machine, Work, estimate
from trimtab.cost.prices import Prices
from trimtab.cost.spending import spent_usd
from trimtab.cost.work import Basis, as_last_time, machine_of
from trimtab.emulation.bucket import EmbeddedBucket
from trimtab.errors import BudgetError, TrimtabError, UsageError
from trimtab.project import Project, current_commit
from trimtab.steps.modal_client import ModalClient
from trimtab.steps.modal_training import modal_run_words
from trimtab.steps.provision import EMBEDDED_STACK
from trimtab.steps.training import Train, config_of, run_id_of
from trimtab.storage import launches
from trimtab.storage.bucket import manifest_or_none
from trimtab.storage.launches import Launch, write_launch
from trimtab.storage.objects import Place
from trimtab.storage.registry import Run, read_found, registry_of
from trimtab.storage.runs import used_s
from trimtab.units import format_duration, format_usd

START_S: Final = 120.0
SAVE_EVERY_S: Final = 1800.0
_SHORTEST_S: Final = 60.0
"""The margin in which an attempt at its cap saves and ends; less than this beyond it is no run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asks for. `compute_s` is how long the steps take, where they know it."""

    train: Train
    profile: str | None = None
    max_usd: float | None = None
    compute_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What it is likely to cost: the machine, its price, and the cases where it is known how long it takes."""

    machine: Machine
    usd_per_hour: float
    prices_dated: str
    basis: Basis | None
    cases: tuple[Case, ...]

    @property
    def likely(self) -> Case | None:
        """The case to go by, or None where nobody knows how long it takes."""
        return next((case for case in self.cases if case.name == "likely"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """The launch; `sent` is False where the run runs or has finished already: then it is its newest one, if any."""

    run_id: str
    state: str
    sent: bool
    launch: Launch | None


def priced(project: Project, wanted: Wanted, prices: Prices, machine: Machine) -> Priced:
    """Return what a run is likely to cost. Raises BudgetError when that is more than it may; nothing was sent then."""
    job = wanted.train.job
    basis = (
        Basis(compute_s=wanted.compute_s, told="as given")
        if wanted.compute_s is not None
        else as_last_time(project, job, machine)
    )
    cases: tuple[Case, ...] = ()
    if basis is not None:
        work = Work(compute_s=basis.compute_s, start_s=START_S, checkpoint_every_s=min(SAVE_EVERY_S, basis.compute_s))
        cases = estimate(machine, work, prices)
    usd_per_hour = sum(machine.usd_per_hour(prices).values())
    found = Priced(
        machine=machine,
        usd_per_hour=usd_per_hour,
        prices_dated=prices.dated.isoformat(),
        basis=basis,
        cases=cases,
    )
    if wanted.max_usd is not None and found.likely is not None and found.likely.usd > wanted.max_usd:
        raise BudgetError(
            f"a run of {job} is likely to cost more than it may; nothing was started",
            why=f"{format_usd(found.likely.usd)} of {format_usd(wanted.max_usd)}:"
            f" {format_duration(found.likely.billed_s)} at {usd_per_hour:.3f} $/h",
            remedy="take a smaller machine (--profile), do fewer steps, or raise --max-usd",
        )
    return found


def launch(
    project: Project,
    client: ModalClient,
    wanted: Wanted,
    prices: Prices,
    *,
    say: Callable[[str], None],
) -> Launched:
    """Launch a run, or find that it runs or has finished. Raises BudgetError when it may cost no more."""
    train = wanted.train
    _check_config(project, train)
    machine = machine_of(project, client.runner, train.job, profile=wanted.profile)
    price = priced(project, wanted, prices, machine)
    name = run_id_of(project, train, _data_digest(project, client, train.job))
    known = registry_of([read_found("modal", client.listed(name))]).runs
    run = known[0] if known else None
    if run is not None and (run.open_call or run.state == "finished"):
        return Launched(run_id=name, state=run.state, sent=False, launch=run.launches[0] if run.launches else None)
    cap_s = None if wanted.max_usd is None else _cap_s(run, wanted.max_usd, price)
    words = modal_run_words(train.job, config=config_of(project, train), run_id=name, must_resume=train.must_resume)
    words += ("--wait", "no")
    words += ("--profile", wanted.profile) if wanted.profile else ()
    words += ("--cap-seconds", f"{cap_s:.0f}") if cap_s is not None else ()
    call = client.launch(words, say)
    sent = Launch(
        call_id=call["call_id"],
        app_id=call["app_id"],
        server=client.server,
        job=train.job,
        run_id=name,
        profile=wanted.profile or call.get("profile"),
        launched=datetime.now(UTC),
        host=socket.gethostname(),
        commit=current_commit(project.root) or None,
        config=str(config_of(project, train)),
        machine=launches.Machine(
            gpu=machine.gpu,
            gpu_count=machine.gpu_count,
            cores=machine.cores,
            memory_gib=machine.memory_gib,
            timeout_s=machine.timeout_s,
            retries=machine.retries,
            usd_per_hour=price.usd_per_hour,
        ),
        prices_dated=price.prices_dated,
        predicted_usd={case.name: case.usd for case in price.cases},
        predicted_s=price.likely.billed_s if price.likely else None,
        max_usd=wanted.max_usd,
        cap_s=cap_s,
    )
    write_launch(project.state / "results", sent)
    try:
        client.remember(sent)
    except TrimtabError as error:  # it runs, and this machine knows it: that must not read as a failed launch
        say(f"other machines do not see this launch before its first checkpoint: {error.what}: {error.why}")
    return Launched(run_id=name, state="starting", sent=True, launch=sent)


def _cap_s(run: Run | None, max_usd: float, price: Priced) -> float:
    """Return the seconds that all attempts of a run may be billed for together. Raises BudgetError if none is left."""
    spent = spent_usd(run) if run else 0.0
    left_s = (max_usd - spent) / price.usd_per_hour * HOUR_S
    if left_s <= _SHORTEST_S:
        raise BudgetError(
            "the run may cost no more; nothing was started",
            why=f"its attempts cost {format_usd(spent)} so far of {format_usd(max_usd)}; what is left is"
            f" {format_duration(max(left_s, 0.0))} of a machine at {price.usd_per_hour:.3f} $/h, and to save takes"
            f" {_SHORTEST_S:.0f} s",
            remedy="raise --max-usd, or take a cheaper machine (--profile)",
        )
    return used_s(run.record if run else None) + left_s


def _check_config(project: Project, train: Train) -> None:
    path: Path = config_of(project, train)
    if not path.is_file():
        raise UsageError(
            f"there is no configuration {path}",
            why="--config names it" if train.config else f"jobs.{train.job}.config in trimtab.yaml names it",
            remedy="name another file; configs/ holds those that there are",
        )


def _data_digest(project: Project, client: ModalClient, job: str) -> str:
    """Return the digest of the data where the bucket is at hand; else the run itself refuses to go on with others."""
    if client.server == "modal":
        return ""
    bucket = EmbeddedBucket(project, client.runner, stack=EMBEDDED_STACK)
    s3 = bucket.operator_or_none()
    place = Place(bucket=bucket.name, prefix=project.catalogue.jobs[job].data)
    manifest = s3 and manifest_or_none(s3, place)
    return manifest.sha256 if manifest else ""
