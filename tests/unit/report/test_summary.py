"""The summary of a workflow's run: a table that cannot be broken, and a chart of the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.catalogues import text
from trimtab.cost.ledger import Entry, Ledger, Outcome
from trimtab.plan import Cost
from trimtab.report.summary import entries_since, summary
from trimtab.units import GIB, MIB


def entry(
    step: str, *, outcome: Outcome = "done", peak: int = 0, kept: int = 0, error: str = "", at: str = "20:00:00"
) -> Entry:
    took = Cost(peak_bytes=peak * MIB, kept_bytes=kept * MIB, memory_bytes=None, wall_s=12)
    return Entry(
        run="r",
        step=step,
        at=f"2026-11-22T{at}+00:00",
        outcome=outcome,
        predicted=Cost(peak_bytes=300 * MIB, kept_bytes=200 * MIB, memory_bytes=None, wall_s=30),
        measured=None if outcome == "already done" else took,
        result={"error": error} if error else {},
    )


def test_a_step_stands_on_what_those_before_it_left() -> None:
    made = summary([entry("base:cpu", peak=150, kept=100), entry("image:gulls:cpu", peak=50)], disk_budget_bytes=GIB)
    assert "bar [150, 150]" in made
    assert "line [300, 400]" in made
    assert 'x-axis "step" [1, 2]' in made
    assert "| 2 | `image:gulls:cpu` | done | 50.0 MiB | `██░░░░░░░░░░` 15% | 12 s | 300.0 MiB, 30 s |" in made


def test_a_failure_is_told_first_and_its_text_breaks_no_table() -> None:
    made = summary([entry("image:gulls:cpu", outcome="failed", error="a|b <img> *c*\nd")], disk_budget_bytes=GIB)
    assert made.startswith("## What was done\n\n**1 of 1 steps failed.**\n")
    assert r"**failed**: a\|b \<img\> \*c\*" in made


def test_what_was_already_done_is_only_counted() -> None:
    made = summary([entry("engine", outcome="already done"), entry("b", peak=1)], disk_budget_bytes=GIB)
    assert "`engine`" not in made
    assert "| 1 | `b` |" in made
    assert "1 of 2 steps had nothing to do." in made
    assert "mermaid" not in made


def test_a_step_that_was_skipped_took_nothing_and_is_shown() -> None:
    skipped = replace(entry("push:gulls:cpu"), outcome="skipped", measured=None)
    assert "| 1 | `push:gulls:cpu` | skipped |  |  |  |" in summary([skipped], disk_budget_bytes=GIB)


def test_more_than_the_budget_fills_the_bar_and_no_more() -> None:
    assert "`████████████` 195%" in summary([entry("b", peak=2000)], disk_budget_bytes=GIB)


def test_nothing_done_is_said() -> None:
    assert "Nothing was run." in summary([], disk_budget_bytes=GIB)


def test_only_what_ended_since_the_moment_counts() -> None:
    entries = [entry("a", at="19:59:59"), entry("b", at="20:00:00"), entry("c", at="20:00:01")]
    since = datetime(2026, 11, 22, 20, tzinfo=UTC)
    assert [one.step for one in entries_since(entries, since)] == ["b", "c"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "trimtab.yaml").write_text(text())
    ledger = Ledger(tmp_path / ".trimtab" / "ledger.jsonl")
    ledger.append(entry("before", at="19:00:00"))
    ledger.append(entry("after", at="21:00:00"))
    return tmp_path


def trimtab(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "trimtab", "report", *words]
    return subprocess.run(argv, cwd=project, capture_output=True, text=True, check=False)


def test_the_command_prints_what_was_done_since(project: Path) -> None:
    done = trimtab(project, "--summary", "--since", "2026-11-22T20:00:00Z")
    assert done.returncode == 0, done.stderr
    assert "`after`" in done.stdout
    assert "`before`" not in done.stdout
    assert "`before`" in json.loads(trimtab(project, "--summary", "--json").stdout)["summary"]


@pytest.mark.parametrize("words", [("--since", "2026-11-22"), ("--summary", "--since", "yesterday")])
def test_a_wrong_moment_is_an_argument_that_is_wrong(project: Path, words: tuple[str, ...]) -> None:
    done = trimtab(project, *words)
    assert done.returncode == 2
    assert "next:" in done.stderr
