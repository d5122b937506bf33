"""Launch a job on Modal: priced first, sent once, remembered here and on the Volume, and left alone.

What is refused (no token, too dear, wrong words) is refused before anything is sent. The same inputs are the same run:
one that runs or has finished is not sent again, one that was cut off goes on from its last checkpoint. `launch` sends
by a program; `modal run deploy/modal/app.py` alone goes through the same `prepare` and `note`, before and after it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final, Protocol

from trimtab.cost.estimate import HOUR_S, Case, Machine, Work, estimate
from trimtab.cost.ledger import Ledger
from trimtab.cost.prices import Prices
from trimtab.cost.spending import settle, spent_usd
from trimtab.cost.work import Basis, as_last_time, machine_of, steps_of
from trimtab.emulation.bucket import EmbeddedBucket
from trimtab.errors import BudgetError, TrimtabError, UsageError
from trimtab.process import Runner
from trimtab.project import Project, current_commit
from trimtab.steps.modal_client import ModalClient, Server
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


class Modal(Protocol):
    """What a launch asks of a Modal: what lies on its Volume, and to keep one launch more there."""

    @property
    def server(self) -> Server: ...

    @property
    def runner(self) -> Runner: ...

    def listed(self, run_id: str | None = None) -> Mapping[str, Any]: ...

    def remember(self, launch: Launch) -> None: ...


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

    def told(self, job: str, max_usd: float | None) -> Iterator[str]:
        """Yield the lines that a person reads before anything is sent."""
        hourly = f"{self.usd_per_hour:.3f} $/h"
        if self.likely is None or self.basis is None:
            allowed = self.machine.retries + 1
            most = self.usd_per_hour * allowed * self.machine.timeout_s / HOUR_S
            yield (
                f"nobody knows yet how long {job} computes: its machine costs {hourly}, and all of the {allowed}"
                f" attempts of {format_duration(self.machine.timeout_s)} that it is allowed {format_usd(most)}"
            )
        else:
            low, _, high = self.cases
            yield (
                f"likely {format_usd(self.likely.usd)} ({format_usd(low.usd)} to {format_usd(high.usd)}):"
                f" {format_duration(self.likely.billed_s)} at {hourly}; {self.basis.told}"
            )
        if max_usd is not None:
            yield f"it is stopped, with a checkpoint, before it costs {format_usd(max_usd)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A launch that may be sent: its price, its run's name, what is known of that run, and its cap in seconds."""

    wanted: Wanted
    price: Priced
    run_id: str
    run: Run | None
    cap_s: float | None

    @property
    def is_sent_already(self) -> bool:
        """Whether the run runs or has finished."""
        return _is_sent_already(self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """The launch; `sent` is False where the run runs or has finished already: then it is its newest one, if any."""

    run_id: str
    state: str
    sent: bool
    launch: Launch | None


def priced(project: Project, wanted: Wanted, prices: Prices, machine: Machine) -> Priced:
    """Return what a run is likely to cost. Raises BudgetError when that is more than it may; nothing was sent then."""
    job, steps = wanted.train.job, steps_of(_existing_config(project, wanted.train))
    basis = (
        Basis(compute_s=wanted.compute_s, told="as given")
        if wanted.compute_s is not None
        else as_last_time(project, job, machine, steps=steps)
    )
    cases: tuple[Case, ...] = ()
    if basis is not None:
        work = Work(compute_s=basis.compute_s, start_s=START_S, checkpoint_every_s=min(SAVE_EVERY_S, basis.compute_s))
        cases = estimate(machine, work, prices)
    usd_per_hour = sum(machine.usd_per_hour(prices).values())
    if wanted.max_usd is not None:
        if not isfinite(wanted.max_usd):
            raise UsageError(
                f"--max-usd {wanted.max_usd:g} is no amount", why="it would cap nothing", remedy="give dollars"
            )
        _left_s(wanted.max_usd, usd_per_hour, spent_usd=0.0)
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


def learn(project: Project, modal: Modal, job: str) -> bool:
    """Write into this machine's ledger what Modal knows of a job's runs; return whether any of it was news."""
    ledger = Ledger(project.state / "ledger.jsonl")
    known = registry_of([read_found("modal", modal.listed())]).runs
    news = [settle(ledger, run) for run in known if run.job == job]
    return any(news)


def prepare(project: Project, modal: Modal, wanted: Wanted, prices: Prices, machine: Machine) -> Prepared:
    """Return a launch, priced, named and capped. Raises BudgetError when it may cost no more."""
    train = wanted.train
    price = priced(project, wanted, prices, machine)
    name = run_id_of(project, train, _data_digest(project, modal, train.job))
    known = registry_of([read_found("modal", modal.listed(name))]).runs
    run = known[0] if known else None
    cap_s = None if wanted.max_usd is None or _is_sent_already(run) else _cap_s(run, wanted.max_usd, price)
    return Prepared(wanted=wanted, price=price, run_id=name, run=run, cap_s=cap_s)


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
    machine = machine_of(project, client.runner, train.job, profile=wanted.profile)
    ready = prepare(project, client, wanted, prices, machine)
    name, run = ready.run_id, ready.run
    if run is not None and ready.is_sent_already:
        return Launched(run_id=name, state=run.state, sent=False, launch=run.launches[0] if run.launches else None)
    words = modal_run_words(train.job, config=config_of(project, train), run_id=name, must_resume=train.must_resume)
    words += ("--wait", "no")
    words += ("--profile", wanted.profile) if wanted.profile else ()
    words += ("--cap-seconds", f"{ready.cap_s:.0f}") if ready.cap_s is not None else ()
    sent = note(project, client, ready, client.launch(words, say), say=say)
    return Launched(run_id=name, state="starting", sent=True, launch=sent)


def note(
    project: Project, modal: Modal, ready: Prepared, call: Mapping[str, Any], *, say: Callable[[str], None]
) -> Launch:
    """Write down, here and on the Volume, what was sent; `call` is what the app says of it."""
    wanted, price = ready.wanted, ready.price
    machine = price.machine
    sent = Launch(
        call_id=call["call_id"],
        app_id=call["app_id"],
        server=modal.server,
        job=wanted.train.job,
        run_id=ready.run_id,
        profile=wanted.profile or call.get("profile"),
        launched=datetime.now(UTC),
        host=socket.gethostname(),
        commit=current_commit(project.root) or None,
        config=str(config_of(project, wanted.train)),
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
        cap_s=ready.cap_s,
    )
    write_launch(project.state / "results", sent)
    try:
        modal.remember(sent)
    except TrimtabError as error:  # it runs, and this machine knows it: that must not read as a failed launch
        say(f"other machines do not see this launch before its first checkpoint: {error.what}: {error.why}")
    return sent


def _is_sent_already(run: Run | None) -> bool:
    return run is not None and (run.open_call is not None or run.state == "finished")


def _cap_s(run: Run | None, max_usd: float, price: Priced) -> float:
    """Return the seconds that all attempts of a run may be billed for together. Raises BudgetError if none is left."""
    left_s = _left_s(max_usd, price.usd_per_hour, spent_usd=spent_usd(run) if run else 0.0)
    return used_s(run.record if run else None) + left_s


def _left_s(max_usd: float, usd_per_hour: float, *, spent_usd: float) -> float:
    left_s = (max_usd - spent_usd) / usd_per_hour * HOUR_S
    if left_s <= _SHORTEST_S:
        raise BudgetError(
            "the run may cost no more; nothing was started",
            why=f"its attempts cost {format_usd(spent_usd)} so far of {format_usd(max_usd)}; what is left is"
            f" {format_duration(max(left_s, 0.0))} of a machine at {usd_per_hour:.3f} $/h, and to save takes"
            f" {_SHORTEST_S:.0f} s",
            remedy="raise --max-usd, or take a cheaper machine (--profile)",
        )
    return left_s


def _existing_config(project: Project, train: Train) -> Path:
    path = config_of(project, train)
    if not path.is_file():
        raise UsageError(
            f"there is no configuration {path}",
            why="--config names it" if train.config else f"jobs.{train.job}.config in trimtab.yaml names it",
            remedy="name another file; configs/ holds those that there are",
        )
    return path


def _data_digest(project: Project, modal: Modal, job: str) -> str:
    """Return the digest of the data where the bucket is at hand; else the run itself refuses to go on with others."""
    if modal.server == "modal":
        return ""
    bucket = EmbeddedBucket(project, modal.runner, stack=EMBEDDED_STACK)
    s3 = bucket.operator_or_none()
    place = Place(bucket=bucket.name, prefix=project.catalogue.jobs[job].data)
    manifest = s3 and manifest_or_none(s3, place)
    return manifest.sha256 if manifest else ""
