"""Scales, ticks and paths: where a value lies in a plot, and which round values its axes show. Pure.

A plot is an SVG of 1000 by 1000 units; ticks are in percent of it, from its left or its bottom.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trimtab.units import format_size

_UNITS: Final = 1000
_MOST_TICKS: Final = 5
_CLOCK_STEPS_S: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on an axis, in percent, and what stands there."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from `low` to `high` onto 0 to 1."""

    low: float
    high: float

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0

    def percent(self, value: float) -> float:
        return round(100 * self.share(value), 2)


def x_of(scale: Scale, value: float) -> str:
    """Return a value's place from the left, in the plot's units."""
    return _units(scale.share(value))


def y_of(scale: Scale, value: float) -> str:
    """Return a value's place from the top, in the plot's units."""
    return _units(1 - scale.share(value))


def path_of(points: Iterable[Point], x: Scale, y: Scale) -> str:
    """Return the path through points; a lone one is a dot."""
    corners = [f"{x_of(x, at)},{y_of(y, value)}" for at, value in points]
    return "M" + "L".join(corners) + ("h0" if len(corners) == 1 else "")  # a round cap shows a lone point


def size_ticks(scale: Scale) -> tuple[Tick, ...]:
    """Return a tick at each multiple of a power of two bytes."""
    step = 1.0
    while (scale.high - scale.low) / step > _MOST_TICKS:
        step *= 2
    return tuple(Tick(at=scale.percent(at), text=_round_size(at)) for at in _multiples(step, scale))


def _round_size(size_bytes: float) -> str:
    return "0" if size_bytes == 0 else format_size(size_bytes).replace(".0 ", " ")


def float_ticks(scale: Scale) -> tuple[Tick, ...]:
    """Return a tick at each multiple of a round number."""
    step = round_step(scale.high - scale.low)
    return tuple(Tick(at=scale.percent(at), text=f"{at:.6g}") for at in _multiples(step, scale))


def epoch_ticks(scale: Scale) -> tuple[Tick, ...]:
    """Return a tick at the first epoch and at round ones."""
    step = max(1.0, round_step(scale.high - scale.low))
    marks = sorted({scale.low, *(at for at in _multiples(step, scale) if at - scale.low >= step / 2)})
    return tuple(Tick(at=scale.percent(at), text=f"{at:.0f}") for at in marks)


def clock_ticks(scale: Scale) -> tuple[Tick, ...]:
    """Return a tick at each round time, in seconds, minutes or hours by the length of the run."""
    days = 86400.0 * max(1, math.ceil(scale.high / 86400 / _MOST_TICKS))
    step = next((step for step in _CLOCK_STEPS_S if scale.high / step <= _MOST_TICKS), days)
    return tuple(Tick(at=scale.percent(at), text=_clock(at, step)) for at in _multiples(step, scale))


def _clock(seconds: float, step: float) -> str:
    if seconds == 0:
        return "0"
    if step < 15:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if step >= 900 else f"{minutes}:{rest:02d}"


def round_step(span: float) -> float:
    """Return the smallest of 1, 2, 5, 10, ... (times a power of ten) that divides a span into a few parts."""
    if span <= 0:
        return 0.1
    power = 10.0 ** math.floor(math.log10(span / _MOST_TICKS))
    return next((factor * power for factor in (1, 2, 5) if span / (factor * power) <= _MOST_TICKS), 10 * power)


def _multiples(step: float, scale: Scale) -> list[float]:
    first, last = math.ceil(scale.low / step - 1e-9), math.floor(scale.high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _units(share: float) -> str:
    return f"{_UNITS * share:.1f}".removesuffix(".0")
