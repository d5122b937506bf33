# ruff: noqa: INP001 - beside a script that is run by its path, not a package
"""The comparison's table and chart, from the results of the strategies. Pure.

Sizes are in MB and GB of 10^6 and 10^9 bytes, as the budgets of images are. A peak is what the engine's file system
held at most, the base image and the engine's own files included.
"""

from __future__ import annotations

from typing import Any, Final

Result = dict[str, Any]

_NAMES: Final = {
    "usual": "usual: torch in each, all at once",
    "one-by-one": "old recipe: one by one, no cache, clean between",
    "trimtab-cpu": "Trimtab, CPU",
    "trimtab-gpu": "Trimtab, GPU",
}
_COLOURS: Final = {"usual": "#b3423a", "one-by-one": "#c98a1b", "trimtab-cpu": "#1f6f8b", "trimtab-gpu": "#3f8f5b"}
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 900, 420, 60, 50, 30, 250


def ordered(results: list[Result]) -> list[Result]:
    """Return the results in the order of the table."""
    return sorted(results, key=lambda result: list(_NAMES).index(result["strategy"]))


def table(results: list[Result]) -> str:
    """Return the Markdown table. The bound is B + max d: what stood at the start and the largest image over it."""
    results = ordered(results)
    usual = next((result for result in results if result["strategy"] == "usual"), None)
    lines = [
        "| strategy | peak | of the usual's | of B + max d | wall | of the usual's | each image over its base |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        sizes = result["over_base_bytes"].values()
        bound = result["start_bytes"] + max(sizes)
        lines.append(
            f"| {_NAMES[result['strategy']]} | {size(result['peak_bytes'])} | {share(result, usual, 'peak_bytes')} "
            f"| {result['peak_bytes'] / bound:.2f} | {result['wall_s']:.0f} s | {share(result, usual, 'wall_s')} "
            f"| {' / '.join(size(each) for each in sizes)} |"
        )
    return "\n".join(lines) + "\n"


def chart(results: list[Result]) -> str:
    """Return an SVG: used disk over time, a line for each strategy."""
    results = ordered(results)
    most_s = max(result["samples"][-1][0] for result in results) * 1.02
    most_bytes = max(result["peak_bytes"] for result in results) * 1.06
    across, up = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(at_s: float, used: float) -> tuple[float, float]:
        return _LEFT + at_s / most_s * across, _HEIGHT - _BOTTOM - used / most_bytes * up

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        "<style>text { font: 13px sans-serif }</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" fill="#222">Disk that the engine uses while three services are built, GB</text>',
    ]
    for mark in ticks(most_bytes / 1e9):
        _, y = place(0, mark * 1e9)
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + across}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{mark:g}</text>')
    for mark in ticks(most_s):
        x, y = place(mark, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle" fill="#555">{mark:g}</text>')
    parts.append(f'<text x="{_LEFT + across / 2}" y="{_HEIGHT - 10}" text-anchor="middle" fill="#555">seconds</text>')
    for number, result in enumerate(results):
        colour = _COLOURS[result["strategy"]]
        points = " ".join("{:.1f},{:.1f}".format(*place(*sample)) for sample in result["samples"])
        x, y = place(*result["samples"][-1])
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>')
        line = _TOP + 20 + number * 44
        parts.append(f'<rect x="{_WIDTH - _RIGHT + 14}" y="{line - 11}" width="12" height="12" fill="{colour}"/>')
        name = _NAMES[result["strategy"]].partition(":")[0]
        parts.append(f'<text x="{_WIDTH - _RIGHT + 32}" y="{line}" fill="#222">{name}</text>')
        took = f"peak {size(result['peak_bytes'])}, {result['wall_s']:.0f} s"
        parts.append(f'<text x="{_WIDTH - _RIGHT + 32}" y="{line + 17}" fill="#555">{took}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def ticks(most: float) -> list[float]:
    """Return about five round marks from 0 to below `most`."""
    step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if most / step <= 6)
    return [step * number for number in range(int(most / step) + 1)]


def share(result: Result, usual: Result | None, key: str) -> str:
    """Return a result as a share of the usual way's."""
    return "" if usual is None else f"{result[key] / usual[key]:.1%}"


def size(size_bytes: int) -> str:
    """Return a size for a person."""
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
