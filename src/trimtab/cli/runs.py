"""`trimtab runs`: the registry of training runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from trimtab.cli.options import CATALOGUE, JSON
from trimtab.console import Console
from trimtab.project import find_project


@click.command()
@CATALOGUE
@JSON
def runs(*, catalogue: Path | None, as_json: bool) -> None:
    """List the training runs, newest first: how each ended, and where its checkpoints lie."""
    from trimtab.storage.runs import list_runs

    project = find_project(catalogue)
    found = list_runs(project.state / "results")
    console = Console(as_json=as_json)
    for problem in found.unreadable:
        console.say(f"passed over: {problem}", style="yellow")
    rows = [
        (
            record.run_id,
            record.job,
            record.outcome or "-",
            str(len(record.attempts)),
            str(record.attempts[-1].last_step if record.attempts else "-"),
            _accuracy(record.final or {}),
            record.run_directory,
        )
        for record in found.records
    ]
    columns = ("run", "job", "outcome", "attempts", "step", "test accuracy", "directory")
    console.result(
        {"runs": [record.model_dump(mode="json") for record in found.records], "unreadable": list(found.unreadable)},
        text=lambda: console.table("Training runs", columns, rows),
    )


def _accuracy(final: Mapping[str, Any]) -> str:
    return f"{final['test_accuracy']:.4f}" if "test_accuracy" in final else "-"
