"""The chart of what a job used: one panel a gauge, over all attempts, with its limit. Pure: from samples to SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from trimtab.units import format_duration, format_size

_TITLES: Final = {
    "memory": "memory, of the container or else the machine",
    "process": "memory of the process",
    "gpu": "GPU memory, the most so far",
    "disk": "disk, written since the attempt began",
}
_WIDTH, _LEFT, _RIGHT, _PANEL, _GAP, _TOP = 720, 80, 16, 96, 44, 34
_INK, _FAINT, _LINE, _LIMIT = "#5b6470", "#c3c9d1", "#2a78c0", "#c2410c"
_SHOWN: Final = 1.25  # a limit is drawn when what is used comes near: up to so many times the peak


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    """One gauge over all attempts: stretches of (second, bytes), the peak, and the last limit."""

    stretches: tuple[tuple[tuple[float, int], ...], ...]
    peak_bytes: int
    limit_bytes: int | None


def draw(attempts: Sequence[dict[str, Any]]) -> str:
    """Return the chart of a file's attempts. They stand one behind the other, without the time between them."""
    starts, length_s = _starts(attempts)
    names = [name for name in _TITLES if any(name in attempt["used_bytes"] for attempt in attempts)]
    height = _TOP + len(names) * (_PANEL + _GAP)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    font = f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font} role="img">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for row, name in enumerate(names):
        parts += _panel(name, _curve(name, attempts, starts), length_s, starts[1:], _TOP + row * (_PANEL + _GAP))
    return "\n".join((*parts, "</svg>\n"))


def _starts(attempts: Sequence[dict[str, Any]]) -> tuple[list[float], float]:
    starts, at_s = [], 0.0
    for attempt in attempts:
        starts.append(at_s)
        at_s += max(attempt["seconds"][-1], 1.0)
    return starts, max(at_s, 1.0)


def _curve(name: str, attempts: Sequence[dict[str, Any]], starts: Sequence[float]) -> _Curve:
    stretches, limit = [], None
    for attempt, start in zip(attempts, starts, strict=True):
        column = attempt["used_bytes"].get(name, ())
        known = [(start + at, used) for at, used in zip(attempt["seconds"], column, strict=False) if used is not None]
        if known:
            stretches.append(tuple(known))
        limit = attempt["limit_bytes"].get(name, limit)
    peak = max((used for stretch in stretches for _, used in stretch), default=0)
    return _Curve(stretches=tuple(stretches), peak_bytes=peak, limit_bytes=limit)


def _panel(name: str, curve: _Curve, length_s: float, seams: Sequence[float], top: float) -> list[str]:
    limit = curve.limit_bytes
    is_near = limit is not None and limit <= _SHOWN * max(curve.peak_bytes, 1)
    most = max(curve.peak_bytes, limit if is_near and limit else 0, 1) * 1.05
    bottom, right = top + _PANEL, _WIDTH - _RIGHT

    def x(at_s: float) -> float:
        return round(_LEFT + (right - _LEFT) * at_s / length_s, 1)

    def y(used: float) -> float:
        return round(bottom - _PANEL * used / most, 1)

    of_limit = f" of {format_size(limit)} ({curve.peak_bytes / limit:.0%})" if limit else ""
    title = f"{_TITLES[name]}: peak {format_size(curve.peak_bytes)}{of_limit}"
    dashed = 'stroke-dasharray="4 3"'
    parts = [
        f'<text x="{_LEFT}" y="{top - 8}" font-weight="600">{title}</text>',
        f'<path d="M{_LEFT} {top}V{bottom}H{right}" fill="none" stroke="{_FAINT}"/>',
        f'<text x="{_LEFT - 8}" y="{y(curve.peak_bytes) + 4}" text-anchor="end">{format_size(curve.peak_bytes)}</text>',
        f'<text x="{_LEFT - 8}" y="{bottom + 4}" text-anchor="end">0</text>',
        f'<text x="{_LEFT}" y="{bottom + 16}">0</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{format_duration(length_s)}</text>',
    ]
    parts += [
        f'<path d="M{x(seam)} {top}V{bottom}" stroke="{_FAINT}" {dashed}><title>another attempt</title></path>'
        for seam in seams
    ]
    if is_near and limit:
        parts.append(f'<path d="M{_LEFT} {y(limit)}H{right}" stroke="{_LIMIT}" {dashed}><title>limit</title></path>')
    for stretch in curve.stretches:
        points = " ".join(f"{x(at)},{y(used)}" for at, used in (*stretch, stretch[-1]))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="1.8"/>')
    return parts
