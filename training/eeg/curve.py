"""The threshold sweep as a picture: sensitivity, precision, F1 and false alarms over the threshold, an SVG. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.eeg.scoring import Score

_LEFT, _WIDTH, _HEIGHT, _TOP, _GAP = 64, 520, 220, 40, 48
_LINES: Final = (("sensitivity", "#0b7a75"), ("precision", "#6b4fbb"), ("f1", "#c2410c"))
_FALSE: Final = "#1f2933"


def draw_sweep(sweep: Mapping[float, Score], *, chosen: float, title: str) -> str:
    """Return the SVG of event scores by threshold; `chosen` is the one in use, undefined scores leave a gap."""
    top = 10 ** math.ceil(math.log10(max(10.0, *(score.false_per_day for score in sweep.values()))))
    second = _TOP + _HEIGHT + _GAP

    def x_of(threshold: float) -> float:
        return _LEFT + threshold * _WIDTH

    def share(value: float) -> float:
        return _TOP + _HEIGHT * (1 - value)

    def alarms(value: float) -> float:  # logarithmic, 0.1 a day and less at the bottom
        return second + _HEIGHT * (1 - math.log10(max(value, 0.1) / 0.1) / math.log10(top / 0.1))

    parts = [f'<text x="{_LEFT}" y="22" font-size="15" font-weight="600">{escape(title)}</text>']
    parts += _axis([(share(value / 5), f"{value / 5:g}") for value in range(6)])
    ticks = [10.0**power for power in range(-1, round(math.log10(top)) + 1)]
    parts += _axis([(alarms(tick), f"{tick:g}") for tick in ticks])
    parts.append(f'<text x="{_LEFT}" y="{second - 8}">false alarms in 24 h (logarithmic)</text>')
    for row, (name, colour) in enumerate(_LINES):
        values = {at: getattr(score, name) for at, score in sweep.items()}
        points = [(x_of(at), share(value)) for at, value in values.items() if value is not None]
        parts.append(_line(points, colour))
        y = _TOP + 12 + 18 * row
        parts.append(f'<text x="{_LEFT + _WIDTH + 12}" y="{y}" fill="{colour}">{name.replace("f1", "F1")}</text>')
    parts.append(_line([(x_of(at), alarms(score.false_per_day)) for at, score in sweep.items()], _FALSE))
    bottom = second + _HEIGHT
    parts.append(
        f'<path d="M{x_of(chosen):.1f},{_TOP}V{bottom}" stroke="#7b8794" stroke-dasharray="4 4"/>'
        f'<text x="{x_of(chosen):.1f}" y="{_TOP - 4}" text-anchor="middle" fill="#52606d">in use {chosen:g}</text>'
    )
    marks = [tick / 5 for tick in range(6)]
    parts += [f'<text x="{x_of(at):.1f}" y="{bottom + 18}" text-anchor="middle">{at:g}</text>' for at in marks]
    parts.append(f'<text x="{x_of(0.5)}" y="{bottom + 38}" text-anchor="middle">threshold (upper)</text>')
    size = f'width="{_LEFT + _WIDTH + 110}" height="{bottom + 50}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#1f2933">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _axis(ticks: Sequence[tuple[float, str]]) -> list[str]:
    return [
        f'<path d="M{_LEFT},{y:.1f}h{_WIDTH}" stroke="#e4e7eb"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        for y, text in ticks
    ]


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>' if points else ""
