"""A run as the page shows it: eight steps, a service with a real picture, a training of forty epochs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from trimtab.plan import Cost, Plan, Step, Verdict
from trimtab.report.model import RunReport, ServiceReport, StepReport, TrainingReport
from trimtab.units import GIB, MIB, format_duration, format_size, format_usd

_STEPS = {
    "engine": "a Docker engine with python:3.11-slim-bookworm",
    "provision": "the bucket and its roles, by the Pulumi program, on an embedded AWS",
    "models:yolo-combined": "the models of yolo-combined in the bucket, by checksum",
    "data:classifier": "the data of classifier in the bucket",
    "image:yolo-combined:cpu": "image yolo-combined (cpu), at most 209.8 MiB over its base",
    "serve:yolo-combined:cpu": "service yolo-combined (cpu) on port 8001",
    "train:classifier": "training classifier, with its role's credentials",
}
# predicted and measured, each: peak MiB, kept MiB, memory MiB, seconds
_COSTS = (
    ((1400, 700, 600, 75), (1180, 612, 214, 66.4)),
    ((8, 8, 600, 10), (2, 1, 402, 7.2)),
    ((160, 40, 500, 25), (141, 36, 310, 14.8)),
    ((40, 40, 600, 25), (21, 21, 466, 12.1)),
    ((520, 420, None, 60), (388, 301, 96, 48.9)),
    ((64, 64, 1024, 15), (19, 18, 512, 16.2)),
    ((64, 64, 2048, 120), (31, 12, 640, 41.7)),
)
_DISK_AT_START = 21 * GIB


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """The astronaut, as the golden picture of a service."""
    from skimage import data

    path = tmp_path / "astronaut.jpg"
    Image.fromarray(data.astronaut()).save(path)
    return path


@pytest.fixture
def first_run(picture: Path) -> RunReport:
    """A first run, in which every step ran."""
    steps: list[StepReport] = []
    disk: list[tuple[float, int]] = [(0.0, _DISK_AT_START)]
    at_s, used = 0.0, 0.0
    for (name, title), (predicted, measured) in zip(_STEPS.items(), _COSTS, strict=True):
        peak, kept, _, wall_s = measured
        steps.append(
            StepReport(
                name=name,
                title=title,
                outcome="done",
                predicted=_cost(*predicted),
                measured=_cost(*measured),
                verdict="within its plan" if wall_s <= predicted[3] else "over its plan: time +1.2 s",
                started_s=at_s,
                ended_s=at_s + wall_s,
            )
        )
        for share in (0.25, 0.5, 0.75, 1.0):
            height = kept if share == 1.0 else peak * math.sin(share * math.pi * 0.75)
            disk.append((at_s + share * wall_s, _DISK_AT_START + round((used + height) * MIB)))
        at_s, used = at_s + wall_s, used + kept
    return RunReport(
        project="trimtab-demo",
        stack="dev",
        run="20260102T091500.000000Z",
        started_at="2026-01-02T09:15:00+00:00",
        commit="2b6c3a5",
        steps=tuple(steps),
        verdicts=verdicts(steps),
        disk=tuple(disk),
        disk_budget_bytes=4 * GIB,
        services=(service(picture),),
        trainings=(training(),),
        bucket="trimtab-demo-data-dev",
        roles={"classifier": "arn:aws:iam::123456789012:role/trimtab-demo-dev-classifier"},
        not_proven=("Listing outside a prefix is not refused here.", "No signature of a token is verified."),
    )


@pytest.fixture
def second_run(first_run: RunReport) -> RunReport:
    """The run after it: everything stood, and each look took a moment."""
    steps = tuple(
        replace(step, outcome="already done", measured=None, verdict="nothing to do", started_s=at, ended_s=at + 0.8)
        for at, step in enumerate(first_run.steps)
    )
    disk = tuple((at / 5, _DISK_AT_START + 4096 * (at % 3)) for at in range(35))
    return replace(first_run, steps=steps, disk=disk)


def verdicts(steps: list[StepReport]) -> tuple[Verdict, ...]:
    """Hold what the steps are predicted to take against the demo's budgets."""
    plan = Plan(steps=tuple(Step(name=s.name, title=s.title, action=s.name, predicted=s.predicted) for s in steps))
    return (
        _verdict("disk", plan.peak_bytes, 4 * GIB, format_size),
        _verdict("memory", plan.memory_bytes, 4 * GIB, format_size),
        _verdict("time", plan.wall_s, 600, format_duration),
        _verdict("usd", plan.usd, 0, format_usd),
    )


def service(picture: Path) -> ServiceReport:
    """A service that found the astronaut."""
    return ServiceReport(
        name="yolo-combined",
        variant="cpu",
        address="http://127.0.0.1:8001/",
        over_base_bytes=158 * MIB,
        budget_bytes=220_000_000,
        picture=picture,
        answer={
            "picture": {"width": 512, "height": 512},
            "detections": [
                {"label": "person", "score": 0.8731, "box": [12.5, 3.25, 402.0, 511.0]},
                {"label": "airplane", "score": 0.412, "box": [378, 96, 511, 352.5]},
            ],
        },
    )


def training() -> TrainingReport:
    """A training that was cut off once and then finished."""
    epochs = tuple(
        (
            epoch,
            {
                "train_loss": 0.35 + 2.0 * math.exp(-epoch / 4),
                "val_loss": 0.37 + 1.7 * math.exp(-epoch / 4) + 0.01 * math.sin(epoch),
                "val_accuracy": 0.985 - 0.8 * math.exp(-epoch / 3),
                "learning_rate": 0.004 * (1 - epoch / 40),
            },
        )
        for epoch in range(1, 41)
    )
    confusion = [[36 if row == column else 0 for column in range(10)] for row in range(10)]
    confusion[8] = [0, 2, 0, 0, 0, 0, 0, 0, 33, 1]
    return TrainingReport(
        job="classifier",
        run_id="classifier-3f9c2ab14e07",
        outcome="finished",
        attempts=2,
        checkpoints="s3://trimtab-demo-data-dev/results/classifier/checkpoints/classifier/2026-01-02/classifier-3f9c2ab14e07",
        epochs=epochs,
        final={
            "test_accuracy": 0.9917,
            "test_loss": 0.3952,
            "best_epoch": 37,
            "classes": [str(digit) for digit in range(10)],
            "confusion": confusion,
        },
    )


def _cost(peak: float, kept: float, memory: float | None, wall_s: float) -> Cost:
    return Cost(
        peak_bytes=round(peak * MIB),
        kept_bytes=round(kept * MIB),
        memory_bytes=None if memory is None else round(memory * MIB),
        wall_s=wall_s,
    )


def _verdict(budget, need, limit, text) -> Verdict:
    remedy = f"raise budgets.{budget} to {text(need)}"
    return Verdict(budget=budget, need=need, limit=limit, need_text=text(need), limit_text=text(limit), remedy=remedy)
