"""What a run will cost, before it starts: GPU, processor and memory by the second, attempts, storage, requests. Pure.

Three cases are told, because three things are not known before: how fast the steps go, how often the platform takes the
machine back, and how much of the work since the last checkpoint is then done twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.cost.prices import Prices

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
MONTH_S: Final = 30 * DAY_S

CaseName = Literal["low", "likely", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What one attempt of the function is given, and for how long at most."""

    gpu: str | None
    gpu_count: int
    cores: float
    memory_gib: float
    disk_gib: float = 0.0
    timeout_s: float
    retries: int
    region: Literal["broad", "narrow"] | None = None

    def usd_per_hour(self, prices: Prices) -> dict[str, float]:
        """Return what an hour costs, by what is paid for. Raises UsageError for a GPU without a price."""
        factor = {None: 1.0, "broad": prices.region.broad, "narrow": prices.region.narrow}[self.region]
        # Disk is billed as memory where it comes to more than the memory does.
        memory_gib = max(self.memory_gib, self.disk_gib / prices.compute.disk_gib_per_memory_gib)
        gpu = prices.of_gpu(self.gpu) * self.gpu_count if self.gpu else 0.0
        return {
            "gpu": factor * gpu,
            "cpu": factor * self.cores * prices.compute.core_second * HOUR_S,
            "memory": factor * memory_gib * prices.compute.memory_gib_second * HOUR_S,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done. `compute_s` is the time of all steps on that machine, without starts and repeats."""

    compute_s: float
    start_s: float
    """From the start of an attempt to its first step: the image, the data, the model, the checkpoint."""
    checkpoint_every_s: float
    volume_gib: float = 0.0
    bucket_gib: float = 0.0
    read_gib: float = 0.0
    """Read from the bucket, by each attempt that does not find it in the Volume."""
    read_requests: int = 0
    write_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One case: how much longer the steps take than measured, and how often a day the machine is taken back."""

    name: CaseName
    slower: float
    preemptions_per_day: float


ASSUMPTIONS: Final = (
    Assumption(name="low", slower=1.0, preemptions_per_day=0.0),
    Assumption(name="likely", slower=1.05, preemptions_per_day=0.5),
    Assumption(name="high", slower=1.25, preemptions_per_day=3.0),
)
"""Declared, not measured: Modal publishes no rate of preemptions. The ledger says what a job's runs really took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a run costs under one assumption; `parts` are dollars by what is paid for and add up to `usd`."""

    name: CaseName
    attempts: int
    billed_s: float
    parts: tuple[tuple[str, float], ...]

    @property
    def usd(self) -> float:
        return math.fsum(usd for _, usd in self.parts)


def estimate(machine: Machine, work: Work, prices: Prices) -> tuple[Case, ...]:
    """Return the cases, cheapest first. Raises UsageError for a run that can never end on that machine.

    An attempt that is cut off by its timeout has just saved (checkpoints are due before the deadline): it costs another
    start. One that is preempted costs a start and half of the work between two checkpoints, on average.
    """
    if machine.timeout_s <= work.start_s + work.checkpoint_every_s:
        raise UsageError(
            f"a run with a timeout of {machine.timeout_s:.0f} s makes no progress",
            why=f"an attempt needs {work.start_s:.0f} s to start and saves every {work.checkpoint_every_s:.0f} s",
            remedy="raise the timeout of its profile, or save more often",
        )
    return tuple(_case(machine, work, prices, assumption) for assumption in ASSUMPTIONS)


def _case(machine: Machine, work: Work, prices: Prices, assumption: Assumption) -> Case:
    compute_s = work.compute_s * assumption.slower
    expected = assumption.preemptions_per_day * compute_s / DAY_S
    preemptions = math.ceil(expected) if assumption.name == "high" else round(expected)
    repeated_s = preemptions * work.checkpoint_every_s / 2
    attempts = max(1, math.ceil((compute_s + repeated_s) / (machine.timeout_s - work.start_s))) + preemptions
    billed_s = compute_s + repeated_s + attempts * work.start_s
    hours, months = billed_s / HOUR_S, billed_s / MONTH_S
    parts = [(name, usd * hours) for name, usd in machine.usd_per_hour(prices).items()]
    bucket = prices.bucket
    parts += [
        ("volume", max(0.0, work.volume_gib - prices.volume.free_gib) * prices.volume.gib_month * months),
        ("bucket", work.bucket_gib * bucket.gib_month * months + attempts * work.read_gib * bucket.egress_gib),
        ("requests", attempts * work.read_requests * bucket.read_request + work.write_requests * bucket.write_request),
    ]
    return Case(name=assumption.name, attempts=attempts, billed_s=billed_s, parts=tuple(parts))
