"""The geometry of the page's charts: from samples to paths and positions. Pure, and the same for equal input.

A plot is an SVG of 1000 by 1000 units that the page stretches to its width; whatever is text stands beside it in HTML,
in percent of the plot from its left and its bottom, so that it keeps its size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from trimtab.report.axes import (
    Point,
    Scale,
    Tick,
    clock_ticks,
    epoch_ticks,
    float_ticks,
    path_of,
    round_step,
    size_ticks,
    x_of,
    y_of,
)
from trimtab.report.model import RunReport, StepReport, TrainingReport
from trimtab.units import MIB, format_duration, format_size

_MOST_POINTS: Final = 400
_ROOM_ABOVE: Final = 1.08
_SMALL_SHARE: Final = 0.2  # of the budget: a curve lower than that would be a flat line under it
_SMALLEST_SCALE: Final = 64 * MIB  # what other programs write meanwhile is not blown up into a mountain


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The stretch of one step on the run's clock, in percent."""

    number: int
    step: StepReport
    left: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskChart:
    """Disk over time above what was used at the start: the measured area, what was planned, and the budget.

    `budget` is None where all the rest is so small that the budget's line is far above the picture.
    """

    area: str
    line: str
    planned: str
    bands: tuple[Band, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    budget: Tick | None
    peak: Tick
    peak_height: float
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One metric over the epochs. `colour` counts the metric's prefixes: train_loss and train_accuracy share one."""

    name: str
    colour: int
    path: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochChart:
    """Metrics of one kind over the epochs; `kept` is the epoch whose weights were kept, when that is known."""

    title: str
    series: tuple[Series, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    kept: Tick | None
    description: str


def disk_above_start(report: RunReport) -> tuple[Point, ...]:
    """Return the samples as (seconds since the start, bytes above the first sample)."""
    return tuple((at_s, float(used - report.disk[0][1])) for at_s, used in report.disk)


def disk_chart(report: RunReport) -> DiskChart | None:
    """Return the chart of the disk, or None when fewer than two samples were taken."""
    samples = disk_above_start(report)
    if len(samples) < 2:
        return None
    planned = tuple(_planned(report.steps))
    peak_s, peak_bytes = max(samples, key=lambda sample: sample[1])
    top = max(peak_bytes, *(height for _, height in planned), _SMALLEST_SCALE)
    shows_budget = top >= _SMALL_SHARE * report.disk_budget_bytes
    if shows_budget:
        top = max(top, report.disk_budget_bytes)
    clock = Scale(0.0, max(samples[-1][0], *(step.ended_s for step in report.steps), 0.1))
    disk = Scale(min(0.0, *(used for _, used in samples)), top * _ROOM_ABOVE)
    budget_text = format_size(report.disk_budget_bytes)
    curve = path_of(_reduced(samples), clock, disk)
    floor, start, end = y_of(disk, 0.0), x_of(clock, samples[0][0]), x_of(clock, samples[-1][0])
    return DiskChart(
        area=f"M{start},{floor}L{curve[1:]}L{end},{floor}Z",
        line=curve,
        planned="".join(
            f"M{x_of(clock, step.started_s)},{y_of(disk, height)}H{x_of(clock, step.ended_s)}"
            for step, height in planned
        ),
        bands=tuple(
            Band(
                number=number,
                step=step,
                left=clock.percent(step.started_s),
                width=round(100 * (clock.share(step.ended_s) - clock.share(step.started_s)), 2),
            )
            for number, step in enumerate(report.steps, start=1)
        ),
        x_ticks=clock_ticks(clock),
        y_ticks=size_ticks(disk),
        budget=Tick(at=disk.percent(report.disk_budget_bytes), text=budget_text) if shows_budget else None,
        peak=Tick(at=clock.percent(peak_s), text=format_size(peak_bytes)),
        peak_height=disk.percent(peak_bytes),
        description=f"Disk above the start, over {format_duration(clock.high)}: at most {format_size(peak_bytes)}, "
        f"{format_duration(peak_s)} after the start; the budget is {budget_text}.",
    )


def epoch_charts(training: TrainingReport) -> tuple[EpochChart, ...]:
    """Return the chart of the accuracies and that of the losses, each where there are any."""
    names = sorted({name for _, metrics in training.epochs for name in metrics})
    prefixes = sorted({_prefix(name) for name in names if "accuracy" in name or "loss" in name})
    charts = (
        _epoch_chart(kind, [name for name in names if kind in name], prefixes, training)
        for kind in ("accuracy", "loss")
    )
    return tuple(chart for chart in charts if chart is not None)


def _epoch_chart(
    kind: str, names: Sequence[str], prefixes: Sequence[str], training: TrainingReport
) -> EpochChart | None:
    values = {name: _values(name, training.epochs) for name in names}
    heights = [value for points in values.values() for _, value in points]
    if not heights:
        return None
    epochs = [epoch for points in values.values() for epoch, _ in points]
    x = Scale(min(epochs), max(epochs))
    step = round_step(max(heights) - min(heights))
    low = 0.0 if kind == "loss" else math.floor(min(heights) / step) * step
    y = Scale(low, max(math.ceil(max(heights) / step) * step, low + step))
    series = tuple(
        Series(
            name=name.replace("_", " "),
            colour=prefixes.index(_prefix(name)),
            path=path_of(points, x, y),
            last=f"{points[-1][1]:.4f}",
        )
        for name, points in values.items()
        if points
    )
    kept = training.final.get("best_epoch")
    return EpochChart(
        title=f"{kind} per epoch",
        series=series,
        x_ticks=epoch_ticks(x),
        y_ticks=float_ticks(y),
        kept=Tick(at=x.percent(kept), text=f"epoch {kept} kept") if isinstance(kept, int) and kept in epochs else None,
        description=f"{kind} over {len(training.epochs)} epochs; at the end: "
        + ", ".join(f"{one.name} {one.last}" for one in series),
    )


def _planned(steps: Iterable[StepReport]) -> Iterable[tuple[StepReport, float]]:
    """Yield each step that ran with the height that its plan gave it: what steps before it keep, and its own peak."""
    kept = 0.0
    for step in steps:
        if step.outcome == "already done":
            continue
        yield step, kept + step.predicted.peak_bytes
        kept += step.predicted.kept_bytes


def _reduced(points: Sequence[Point]) -> list[Point]:
    """Return at most a few hundred points that still hold every peak: of each stretch the highest, and both ends."""
    size = math.ceil(len(points) / _MOST_POINTS)
    if size == 1:
        return list(points)
    inner = points[1:-1]
    highest = [max(inner[at : at + size], key=lambda point: point[1]) for at in range(0, len(inner), size)]
    return [points[0], *highest, points[-1]]


def _values(name: str, epochs: Iterable[tuple[int, Mapping[str, float]]]) -> tuple[Point, ...]:
    return tuple(
        (float(epoch), float(metrics[name]))
        for epoch, metrics in epochs
        if name in metrics and math.isfinite(metrics[name])
    )


def _prefix(name: str) -> str:
    return name.partition("_")[0]
