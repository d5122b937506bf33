"""What a page is made from: plain frozen data, filled by the command that ran. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.cost.ledger import Outcome
from trimtab.plan import Cost, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One step: what it was, how it ended, and its stretch on the run's clock."""

    name: str
    title: str
    outcome: Outcome
    predicted: Cost
    measured: Cost | None
    verdict: str
    started_s: float
    ended_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """One service: where it answers, its size held against its budget, and its golden request with the answer.

    `answer` is the service's own JSON: its `detections` each have `label`, `score` and `box` [x0, y0, x1, y1] in pixels
    of the upright picture.
    """

    name: str
    variant: str
    address: str
    over_base_bytes: int
    budget_bytes: int
    picture: Path
    answer: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """One training run. `epochs` are (epoch from 1, metrics by name); `final` holds test accuracy and confusion."""

    job: str
    run_id: str
    outcome: str
    attempts: int
    checkpoints: str
    epochs: tuple[tuple[int, Mapping[str, float]], ...]
    final: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A whole run, as its page shows it. `disk` is (seconds since the start, used bytes on the watched disks)."""

    project: str
    stack: str
    run: str
    started_at: str
    commit: str
    steps: tuple[StepReport, ...]
    verdicts: tuple[Verdict, ...]
    disk: tuple[tuple[float, int], ...]
    disk_budget_bytes: int
    services: tuple[ServiceReport, ...]
    trainings: tuple[TrainingReport, ...]
    bucket: str
    roles: Mapping[str, str]
    not_proven: tuple[str, ...]
