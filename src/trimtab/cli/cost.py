"""`trimtab cost`: what a run on Modal will cost, before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.options import CATALOGUE, JSON, Duration
from trimtab.console import Console
from trimtab.cost.estimate import Case, Machine, Work, estimate
from trimtab.cost.ledger import Ledger
from trimtab.cost.prices import BUNDLED, OWN, Prices, current_prices, load_prices
from trimtab.cost.spending import last_on_modal
from trimtab.cost.work import Basis, as_last_time, machine_of, steps_of
from trimtab.errors import BudgetError, TrimtabError, UsageError
from trimtab.process import ProcessRunner
from trimtab.project import Project, find_project
from trimtab.steps.plans import require_known
from trimtab.steps.training import Train
from trimtab.units import format_duration, format_usd

if TYPE_CHECKING:
    from trimtab.steps.probing import Probed


@click.command()
@click.argument("job")
@click.option("--compute", type=Duration(), help="The time of all steps on that machine, such as 100h.")
@click.option("--steps", type=click.IntRange(min=1), help="How many steps; with --steps-per-second.")
@click.option("--steps-per-second", type=click.FloatRange(min=0, min_open=True), help="Measured on that machine.")
@click.option("--start", type=Duration(), default="2min", show_default=True, help="From an attempt's start to work.")
@click.option("--checkpoint-every", type=Duration(), default="30min", show_default=True, help="Time between saves.")
@click.option("--volume-gib", type=click.FloatRange(min=0), default=0.0, help="What the run keeps on the Volume.")
@click.option("--read-gib", type=click.FloatRange(min=0), default=0.0, help="What each attempt reads from the bucket.")
@click.option("--read-requests", type=click.IntRange(min=0), default=0, help="Objects that each attempt reads there.")
@click.option("--bucket-gib", type=click.FloatRange(min=0), default=0.0, help="What the run keeps in the bucket.")
@click.option("--write-requests", type=click.IntRange(min=0), default=0, help="Objects that the run writes there.")
@click.option(
    "--max-usd", type=click.FloatRange(min=0), help="Exit 6 when the likely case costs more, a probe with it."
)
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Its `steps`, where it has such a key.")
@click.option("--profile", help="Another machine than the job's own; deploy/modal/profiles/ names them.")
@click.option("--probe", is_flag=True, help="Run it on Modal for about a minute, and go by its steps per second.")
@click.option("--refresh", is_flag=True, help="Ask Modal for its prices first (`modal billing rates`; needs a token).")
@click.option("--embedded", is_flag=True, help="Probe on the embedded Modal: it tells whether it runs, not how fast.")
@CATALOGUE
@JSON
def cost(  # noqa: PLR0913 - one for each thing that a run spends
    *,
    job: str,
    compute: float | None,
    steps: int | None,
    steps_per_second: float | None,
    start: float,
    checkpoint_every: float,
    volume_gib: float,
    read_gib: float,
    read_requests: int,
    bucket_gib: float,
    write_requests: int,
    max_usd: float | None,
    config: Path | None,
    profile: str | None,
    probe: bool,
    refresh: bool,
    embedded: bool,
    catalogue: Path | None,
    as_json: bool,
) -> None:
    """Estimate what a run of JOB costs on Modal: GPU, cores and memory by the second, attempts, storage.

    Without --compute or --steps, the time is that of the job's last run on such a machine, or on this one. Prices say
    their date and source. The three cases differ in what nobody knows before: speed, and how often the machine is taken
    back. What the last run on Modal really cost stands beside it. A probe costs, too: what is said before and after.

    \b
    Examples:
      trimtab cost NAME                                       as long as its last run took here
      trimtab cost NAME --compute 100h --max-usd 600          exit 6 when it is likely to cost more
      trimtab cost NAME --steps 400000 --steps-per-second 2.4 --checkpoint-every 1h --json
      trimtab cost NAME --config configs/modal/NAME.yaml --probe
    """
    project, console = find_project(catalogue), Console(as_json=as_json)
    require_known("job", job, tuple(project.catalogue.jobs))
    machine = machine_of(project, ProcessRunner(), job, profile=profile)
    prices = _refreshed(project, console, embedded=embedded) if refresh else current_prices(project)
    counted = steps or (steps_of(config) if config else None)
    wanted = _Wanted(job=job, compute_s=compute, steps=counted, rate=steps_per_second, is_given=bool(steps))
    _check(wanted, probe=probe)
    probed = None
    if probe:
        asked = _Probe(train=Train(job=job, config=config and config.absolute()), profile=profile, max_usd=max_usd)
        probed = _probed(project, console, asked, machine, prices, embedded=embedded)
        wanted = replace(wanted, rate=probed.rate)
    basis = _basis(project, console, wanted, machine, embedded=embedded)
    work = Work(
        compute_s=basis.compute_s,
        start_s=start,
        checkpoint_every_s=min(checkpoint_every, basis.compute_s),
        volume_gib=volume_gib,
        read_gib=read_gib,
        read_requests=read_requests,
        bucket_gib=bucket_gib,
        write_requests=write_requests,
    )
    cases = estimate(machine, work, prices)
    last = last_on_modal(Ledger(project.state / "ledger.jsonl"), job)
    document = _document(job, basis.told, machine, cases, prices, last, probed)
    failure = _over(job, cases, max_usd, probed)
    console.result(
        document, text=lambda: _print(console, job, basis.told, machine, cases, prices, last, probed), failure=failure
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    job: str
    compute_s: float | None
    steps: int | None
    rate: float | None
    is_given: bool
    """Whether the steps were given, and not read from a configuration."""


def _check(wanted: _Wanted, *, probe: bool) -> None:
    """Refuse words that contradict each other. Raises UsageError."""
    if wanted.compute_s is not None and (wanted.is_given or wanted.rate or probe):
        raise UsageError("--compute and --steps say the same twice", why="either is enough", remedy="leave one out")
    if wanted.compute_s is not None and wanted.compute_s <= 0:
        raise UsageError("this run takes no time", why="--compute is 0", remedy="give the time of all its steps")
    if probe and wanted.rate:
        raise UsageError("--probe measures the rate", why="--steps-per-second gives it", remedy="leave one out")
    if (probe or wanted.rate) and wanted.steps is None:
        raise UsageError(
            "a rate alone is no time",
            why="nobody says how many steps",
            remedy="give --steps, or a --config with `steps`",
        )


def _basis(project: Project, console: Console, wanted: _Wanted, machine: Machine, *, embedded: bool) -> Basis:
    if wanted.compute_s is not None:
        return Basis(compute_s=wanted.compute_s, told="as given")
    if wanted.steps is not None and wanted.rate is not None:
        told = f"{wanted.steps:,} steps at {wanted.rate:.4g} a second"
        return Basis(compute_s=wanted.steps / wanted.rate, told=told)
    found = as_last_time(project, wanted.job, machine, steps=wanted.steps)
    if found is None and _learn(project, console, wanted.job, embedded=embedded):
        found = as_last_time(project, wanted.job, machine, steps=wanted.steps)
    if found is None:
        raise UsageError(
            f"nobody knows yet how long {wanted.job} computes",
            why="no run of it has finished on this machine, nor on Modal as far as this machine can see",
            remedy=f"give --compute, or --steps with --steps-per-second or --probe; or: trimtab train {wanted.job}",
        )
    return found


def _learn(project: Project, console: Console, job: str, *, embedded: bool) -> bool:
    """Ask Modal, where it is set up, what runs of a job took that other machines launched."""
    from trimtab.steps.launching import learn
    from trimtab.steps.modal_client import connect_or_none

    try:
        client = connect_or_none(project, ProcessRunner(), embedded=embedded)
        return client is not None and learn(project, client, job)
    except TrimtabError as error:
        console.say(f"passed over: modal: {error.what}: {error.why}", style="yellow")
        return False


def _refreshed(project: Project, console: Console, *, embedded: bool) -> Prices:
    """Ask Modal for its prices and keep them beside the ledger."""
    from datetime import UTC, datetime

    from trimtab.cost.rates import refreshed, write_prices
    from trimtab.steps.registry import Asked

    client = Asked(project=project, runner=ProcessRunner(), embedded=embedded).modal()
    found = refreshed(load_prices(BUNDLED), client.rates(), today=datetime.now(UTC).date())
    write_prices(project.state / OWN, found.prices)
    for name, why in found.passed_over.items():
        console.say(f"passed over: {name}: {why}", style="yellow")
    console.say(f"understood {len(found.understood)} prices; they are in {project.state / OWN}")
    return found.prices


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    train: Train
    profile: str | None
    max_usd: float | None


def _probed(
    project: Project, console: Console, asked: _Probe, machine: Machine, prices: Prices, *, embedded: bool
) -> Probed:
    """Run the job for a minute on its machine, priced before anything is started."""
    from trimtab.steps.modal_client import connect
    from trimtab.steps.probing import foretold, probe

    wanted, likely_usd = foretold(project, asked.train, machine, prices, profile=asked.profile, max_usd=asked.max_usd)
    console.say(f"the probe is likely to cost {format_usd(likely_usd)}, and at most {format_usd(wanted.max_usd or 0)}")
    client = connect(project, ProcessRunner(), embedded=embedded)
    with console.step(f"probing {asked.train.job} on {client.server}") as say:
        return probe(project, client, wanted, prices, say=say)


def _over(job: str, cases: tuple[Case, ...], max_usd: float | None, probed: Probed | None) -> BudgetError | None:
    likely = next(case for case in cases if case.name == "likely")
    spent_usd = probed.usd if probed else 0.0
    if max_usd is None or spent_usd + likely.usd <= max_usd:
        return None
    dearest = max(likely.parts, key=lambda part: part[1])
    return BudgetError(
        f"a run of {job} is likely to cost more than it may",
        why=f"{format_usd(likely.usd)} of {format_usd(max_usd)}, of which {dearest[0]} is {format_usd(dearest[1])}"
        + (f"; the probe took {format_usd(spent_usd)} of them" if probed else ""),
        remedy="take a smaller machine (--profile; see deploy/modal/profiles/), do fewer steps, or raise --max-usd",
    )


def _document(
    job: str,
    basis: str,
    machine: Machine,
    cases: tuple[Case, ...],
    prices: Prices,
    last: Mapping[str, Any] | None,
    probed: Probed | None,
) -> dict[str, Any]:
    return {
        "job": job,
        "compute_from": basis,
        "usd_per_hour": machine.usd_per_hour(prices),
        "attempts_allowed": machine.retries + 1,
        "prices": {"dated": prices.dated.isoformat(), "source": prices.source},
        "cases": [
            {
                "case": case.name,
                "usd": case.usd,
                "attempts": case.attempts,
                "billed_s": case.billed_s,
                "parts": dict(case.parts),
            }
            for case in cases
        ],
        "last": last,
        "probe": probed and {**asdict(probed), "steps_per_second": probed.rate},
    }


def _print(
    console: Console,
    job: str,
    basis: str,
    machine: Machine,
    cases: tuple[Case, ...],
    prices: Prices,
    last: Mapping[str, Any] | None,
    probed: Probed | None,
) -> None:
    names = [name for name, _ in cases[0].parts]
    rows = [
        (
            case.name,
            str(case.attempts),
            format_duration(case.billed_s),
            *(format_usd(usd) for _, usd in case.parts),
            format_usd(case.usd),
        )
        for case in cases
    ]
    console.table(f"What a run of {job} costs", ("case", "attempts", "billed", *names, "together"), rows, right=1)
    hourly = machine.usd_per_hour(prices)
    gpu = f"{machine.gpu_count} x {machine.gpu}" if machine.gpu else "no GPU"
    console.line(
        f"machine   {gpu}, {machine.cores:g} cores, {machine.memory_gib:g} GiB:"
        f" {sum(hourly.values()):.3f} $/h, of which the GPU is {hourly['gpu']:.3f}"
    )
    console.line(f"time      {basis}")
    console.line(f"prices    of {prices.dated}: {prices.source}")
    if (most := cases[-1].attempts) > machine.retries + 1:
        console.line(f"attempts  up to {most}, and the profile allows {machine.retries + 1}: start it again then")
    if probed is not None:
        console.line(
            f"probe     {format_usd(probed.usd)}, predicted {format_usd(probed.predicted_usd)}: run {probed.run_id},"
            f" {probed.steps} steps in {format_duration(probed.step_s)}"
        )
    if last is not None:
        predicted = f", predicted {format_usd(last['predicted_usd'])}" if last["predicted_usd"] else ""
        console.line(
            f"last      {format_usd(last['usd'])}{predicted}: run {last['run_id']}, {last['state']},"
            f" {format_duration(last['seconds'])} in {last['attempts']} attempts"
        )
