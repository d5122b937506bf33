"""The summary of what was done since a moment, from the ledger: Markdown for the page of a workflow's run. Pure.

One table, and one chart of the disk as GitHub draws it (Mermaid): the bars are what was measured, the line what was
planned. A step's height is what the steps before it really left on the disk, and its own peak on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from trimtab.cost.ledger import Entry
from trimtab.units import MIB, format_duration, format_size

_BAR: Final = 12
_MOST_IN_CHART: Final = 40


def entries_since(entries: Sequence[Entry], since: datetime) -> tuple[Entry, ...]:
    """Return what ended at or after a moment, in order. `since` must know its zone."""
    return tuple(entry for entry in entries if datetime.fromisoformat(entry.at) >= since)


def summary(entries: Sequence[Entry], *, disk_budget_bytes: int) -> str:
    """Return the Markdown of these entries; it says so where there are none."""
    if not entries:
        return "## What was done\n\nNothing was run.\n"
    failed = sum(entry.outcome == "failed" for entry in entries)
    head = f"**{failed} of {len(entries)} steps failed.**\n\n" if failed else ""
    shown = [entry for entry in entries if entry.outcome != "already done"]
    idle = len(entries) - len(shown)
    table = f"{_table(shown, disk_budget_bytes)}\n" if shown else ""
    tail = f"{idle} of {len(entries)} steps had nothing to do.\n" if idle else ""
    return f"## What was done\n\n{head}{table}{tail}{_chart(shown)}"


def _table(entries: Sequence[Entry], disk_budget_bytes: int) -> str:
    rows = [
        "| # | step | outcome | disk peak | of the budget | time | predicted |",
        "|--:|---|---|--:|---|--:|---|",
    ]
    for number, (entry, height) in enumerate(zip(entries, _heights(entries), strict=True), start=1):
        predicted = f"{format_size(entry.predicted.peak_bytes)}, {format_duration(entry.predicted.wall_s)}"
        measured = entry.measured
        rows.append(
            f"| {number} | `{entry.step}` | {_outcome(entry)} "
            f"| {'' if measured is None else format_size(measured.peak_bytes)} "
            f"| {'' if measured is None else _bar(height, disk_budget_bytes)} "
            f"| {'' if measured is None else format_duration(measured.wall_s)} | {predicted} |"
        )
    return "\n".join(rows) + "\n"


def _outcome(entry: Entry) -> str:
    if entry.outcome != "failed":
        return entry.outcome
    reason = str(entry.result.get("error", "")).splitlines()
    return f"**failed**: {_cell(reason[0])}" if reason else "**failed**"


def _cell(text: str) -> str:
    """Return a text that stays within its cell and is no markup of its own."""
    shown = text if len(text) <= 160 else f"{text[:160]}..."
    return "".join(f"\\{character}" if character in "\\`*_[]<>|" else character for character in shown)


def _bar(height: float, budget_bytes: int) -> str:
    share = max(0.0, height / budget_bytes)
    filled = min(_BAR, round(share * _BAR))
    return f"`{'█' * filled}{'░' * (_BAR - filled)}` {share:.0%}"


def _chart(entries: Sequence[Entry]) -> str:
    """Return the chart of the steps that ran; nothing where fewer than two did."""
    ran = [(number, entry) for number, entry in enumerate(entries, start=1) if entry.measured is not None]
    shown = ran[-_MOST_IN_CHART:]
    if len(shown) < 2:
        return ""
    entries = [entry for _, entry in shown]
    measured = [max(0, round(height / MIB)) for height in _heights(entries)]
    planned = [max(0, round(height / MIB)) for height in _heights(entries, planned=True)]
    return "\n".join(
        (
            "",
            "```mermaid",
            "xychart-beta",
            '    title "Disk above the start: measured (bars) and planned (line)"',
            f'    x-axis "step" [{", ".join(str(number) for number, _ in shown)}]',
            f'    y-axis "MiB" 0 --> {max(*measured, *planned, 1)}',
            f"    bar {measured}",
            f"    line {planned}",
            "```",
            "",
        )
    )


def _heights(entries: Sequence[Entry], *, planned: bool = False) -> list[float]:
    """Return for each step the disk above the start at its peak: what stood before it, and what it takes."""
    heights: list[float] = []
    kept = 0
    for entry in entries:
        cost = entry.predicted if planned else entry.measured
        heights.append(kept + (0 if cost is None else cost.peak_bytes))
        kept += 0 if entry.measured is None else entry.measured.kept_bytes
    return heights
