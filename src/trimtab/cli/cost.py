"""`trimtab cost`: what a run on Modal will cost, before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trimtab.cli.options import CATALOGUE, JSON
from trimtab.console import Console
from trimtab.cost.estimate import Case, Machine, Work, estimate
from trimtab.cost.prices import BUNDLED, Prices, load_prices
from trimtab.cost.work import computed_s, last_finished, machine_of
from trimtab.errors import BudgetError, UsageError
from trimtab.process import ProcessRunner
from trimtab.project import Project, find_project
from trimtab.steps.plans import require_known
from trimtab.units import format_duration, format_usd, parse_duration


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("job")
@click.option("--compute", type=_Duration(), help="The time of all steps on that machine, such as 100h.")
@click.option("--steps", type=click.IntRange(min=1), help="How many steps; with --steps-per-second.")
@click.option("--steps-per-second", type=click.FloatRange(min=0, min_open=True), help="Measured on that machine.")
@click.option("--start", type=_Duration(), default="2min", show_default=True, help="From an attempt's start to work.")
@click.option("--checkpoint-every", type=_Duration(), default="30min", show_default=True, help="Time between saves.")
@click.option("--volume-gib", type=click.FloatRange(min=0), default=0.0, help="What the run keeps on the Volume.")
@click.option("--read-gib", type=click.FloatRange(min=0), default=0.0, help="What each attempt reads from the bucket.")
@click.option("--max-usd", type=click.FloatRange(min=0), help="Exit 6 when the likely case costs more.")
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
    max_usd: float | None,
    catalogue: Path | None,
    as_json: bool,
) -> None:
    """Estimate what a run of JOB costs on Modal: GPU, cores and memory by the second, attempts, storage.

    Without --compute or --steps, the time is that of the job's last finished run on this machine. Prices say their
    date and source. The three cases differ in what nobody knows before: speed, and how often the machine is taken back.

    \b
    Examples:
      trimtab cost NAME                                       as long as its last run took here
      trimtab cost NAME --compute 100h --max-usd 600          exit 6 when it is likely to cost more
      trimtab cost NAME --steps 400000 --steps-per-second 2.4 --checkpoint-every 1h --json
    """
    project = find_project(catalogue)
    require_known("job", job, tuple(project.catalogue.jobs))
    compute_s, basis = _compute(project, job, compute, steps, steps_per_second)
    prices = load_prices(project.state / "prices.toml" if (project.state / "prices.toml").exists() else BUNDLED)
    machine = machine_of(project, ProcessRunner(), job)
    work = Work(
        compute_s=compute_s,
        start_s=start,
        checkpoint_every_s=min(checkpoint_every, compute_s),
        volume_gib=volume_gib,
        read_gib=read_gib,
    )
    cases = estimate(machine, work, prices)
    console = Console(as_json=as_json)
    document = _document(job, basis, machine, cases, prices)
    failure = _over(job, cases, max_usd)
    console.result(document, text=lambda: _print(console, job, basis, machine, cases, prices), failure=failure)


def _compute(
    project: Project, job: str, compute: float | None, steps: int | None, rate: float | None
) -> tuple[float, str]:
    if compute is not None and (steps or rate):
        raise UsageError("--compute and --steps say the same twice", why="either is enough", remedy="leave one out")
    if (steps is None) != (rate is None):
        raise UsageError(
            "--steps and --steps-per-second belong together", why="one of them is missing", remedy="give both"
        )
    if compute is not None and compute <= 0:
        raise UsageError("this run takes no time", why="--compute is 0", remedy="give the time of all its steps")
    if compute is not None:
        return compute, "as given"
    if steps is not None and rate is not None:
        return steps / rate, f"{steps:,} steps at {rate:g} a second"
    record = last_finished(project, job)
    if record is None or not (seconds := computed_s(record)):
        raise UsageError(
            f"nobody knows yet how long {job} computes",
            why="no run of it has finished on this machine",
            remedy=f"give --compute, or --steps with --steps-per-second; or train it once: trimtab train {job}",
        )
    return seconds, f"as long as run {record.run_id} took on this machine"


def _over(job: str, cases: tuple[Case, ...], max_usd: float | None) -> BudgetError | None:
    likely = next(case for case in cases if case.name == "likely")
    if max_usd is None or likely.usd <= max_usd:
        return None
    dearest = max(likely.parts, key=lambda part: part[1])
    return BudgetError(
        f"a run of {job} is likely to cost more than it may",
        why=f"{format_usd(likely.usd)} of {format_usd(max_usd)}, of which {dearest[0]} is {format_usd(dearest[1])}",
        remedy=f"take a smaller machine in deploy/modal/profiles/{job}.toml, do fewer steps, or raise --max-usd",
    )


def _document(job: str, basis: str, machine: Machine, cases: tuple[Case, ...], prices: Prices) -> dict[str, Any]:
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
    }


def _print(console: Console, job: str, basis: str, machine: Machine, cases: tuple[Case, ...], prices: Prices) -> None:
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
