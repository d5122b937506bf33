"""What a training leaves to look at, as SVG: the confusion of classes, and curves over the epochs. Pure.

The same numbers give the same bytes: an attempt that repeats the end of a run writes the same files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_COLOURS: Final = ("#2a5db0", "#d1661b", "#2f8f5b", "#8b4fa8")
_INK, _FAINT = "#222", "#ccc"
_CELL: Final = 40
_MOST_NUMBERS: Final = 40  # classes; with more of them a cell has no room for its number
_NAME_SIGNS: Final = 14
_WIDTH, _HEIGHT, _MARGIN = 420, 240, 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One plot: its title, and which of the rows' numbers are its lines."""

    title: str
    names: tuple[str, ...]


def confusion_svg(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> bytes:
    """Return the confusion matrix: a row for each true class, a column for each answer, darker the larger its part."""
    cell = _CELL if len(classes) <= _MOST_NUMBERS else 10
    signs = min(_NAME_SIGNS, max(map(len, classes)))
    left, top = 24 + 7 * signs, 52 + 6 * signs
    parts = []
    for row, counts in enumerate(confusion):
        total = max(1, sum(counts))
        for column, count in enumerate(counts):
            x, y, part = left + column * cell, top + row * cell, count / total
            colour = _COLOURS[0] if row == column else _COLOURS[1]
            title = escape(f"{count} of {classes[row]} answered as {classes[column]}")
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{colour}"'
                f' fill-opacity="{0.05 + 0.95 * math.sqrt(part) if count else 0.03:.3f}"><title>{title}</title></rect>'
            )
            if count and len(classes) <= _MOST_NUMBERS:
                ink = "#fff" if part > 0.25 else _INK
                parts.append(_text(x + cell / 2, y + cell / 2 + 4, str(count), anchor="middle", fill=ink))
    for index, name in enumerate(classes):
        middle, short = index * cell + cell / 2, name if len(name) <= _NAME_SIGNS else f"{name[: _NAME_SIGNS - 1]}…"
        parts.append(_text(left - 8, top + middle + 4, short, anchor="end"))
        parts.append(
            f'<g transform="translate({left + middle + 4:.1f} {top - 8}) rotate(-60)">{_text(0, 0, short)}</g>'
        )
    side = len(classes) * cell
    right = sum(row[index] for index, row in enumerate(confusion))
    every = sum(map(sum, confusion))
    parts.append(_text(12, 20, f"{right:,} of {every:,} right; rows: the truth, columns: the answer"))
    return _document(max(left + side + 60, 420), top + side + 16, parts)


def curves_svg(rows: Sequence[Mapping[str, float]], panels: Sequence[Panel], *, kept: int | None = None) -> bytes:
    """Return one plot for each panel over the rows' `epoch`; `kept` marks the epoch whose weights were kept."""
    parts = []
    for place, panel in enumerate(panels):
        x = place * (_WIDTH + 16)
        parts.append(f'<g transform="translate({x} 0)">{"".join(_panel(rows, panel, kept))}</g>')
    return _document(len(panels) * (_WIDTH + 16) - 16, _HEIGHT + 40, parts)


def _panel(rows: Sequence[Mapping[str, float]], panel: Panel, kept: int | None) -> list[str]:
    last = max(2, int(rows[-1]["epoch"]))
    values = [row[name] for row in rows for name in panel.names]
    step = _round_step(max(values) - min(values))
    low, high = math.floor(min(values) / step), math.ceil(max(values) / step)  # in steps
    high = max(high, low + 1)

    def across(epoch: float) -> float:
        return _MARGIN + (epoch - 1) / (last - 1) * (_WIDTH - _MARGIN - 12)

    def down(value: float) -> float:
        return _HEIGHT - (value / step - low) / (high - low) * (_HEIGHT - 40)

    parts = [_text(_MARGIN, 18, panel.title, weight="bold")]
    for count in range(low, high + 1):
        y = down(count * step)
        parts.append(f'<path d="M{_MARGIN} {y:.1f}H{_WIDTH - 12}" stroke="{_FAINT}"/>')
        parts.append(_text(_MARGIN - 6, y + 4, f"{count * step:.6g}", anchor="end"))
    marked = sorted({round(1 + (last - 1) * part / 4) for part in range(5)})
    parts += [_text(across(epoch), _HEIGHT + 18, str(epoch), anchor="middle") for epoch in marked]
    parts.append(_text(_WIDTH - 12, _HEIGHT + 34, "epoch", anchor="end"))
    if kept is not None:
        x = across(kept)
        parts.append(f'<path d="M{x:.1f} 40V{_HEIGHT}" stroke="{_INK}" stroke-dasharray="3 3"/>')
    for index, name in enumerate(panel.names):
        points = " ".join(f"{across(row['epoch']):.1f},{down(row[name]):.1f}" for row in rows)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{_COLOURS[index]}" stroke-width="2"/>')
        label = f"{name.replace('_', ' ')} {rows[-1][name]:.4g}"
        parts.append(_text(_MARGIN + 90 + index * 140, 18, label, fill=_COLOURS[index]))
    return parts


def _round_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten, so that a span has about four of them."""
    wanted = (span or 0.04) / 4
    power: float = 10.0 ** math.floor(math.log10(wanted))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted)


def _text(x: float, y: float, content: str, *, anchor: str = "start", fill: str = _INK, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-weight="{weight}">'
        f"{escape(content)}</text>"
    )


def _document(width: float, height: float, parts: Sequence[str]) -> bytes:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    ).encode()
