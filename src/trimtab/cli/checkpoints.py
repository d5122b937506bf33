"""`trimtab checkpoints`: what a run has saved, why each stays, and what may go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trimtab.cli.options import CATALOGUE, DRY_RUN, JSON
from trimtab.console import Console
from trimtab.errors import UsageError
from trimtab.project import find_project
from trimtab.units import format_size

if TYPE_CHECKING:
    from trimtab.storage.checkpoints import Checkpoint
    from trimtab.storage.retention import Retention


@click.group()
def checkpoints() -> None:
    """List, pin and prune the checkpoints of training runs that lie here; `trimtab runs fetch` brings others."""


@checkpoints.command("list")
@click.argument("run_id", required=False)
@CATALOGUE
@JSON
def list_checkpoints(*, run_id: str | None, catalogue: Path | None, as_json: bool) -> None:
    """List the checkpoints of RUN_ID, or of every run, and say why each stays.

    \b
    Examples:
      trimtab checkpoints list
      trimtab checkpoints list RUN_ID --json
    """
    from trimtab.storage.checkpoints import published, retention_of

    results = find_project(catalogue).state / "results"
    documents: list[dict[str, Any]] = []
    for name, directory in _directories(results, run_id).items():
        found = published(directory)
        reasons = retention_of(found).reasons(found)
        documents += [_document(name, item, reasons[item.step]) for item in found]
    console = Console(as_json=as_json)
    columns = ("run", "step", "saved", "size", "measured", "stays because")
    rows = [
        (
            item["run_id"],
            str(item["step"]),
            item["saved_at"][:16].replace("T", " "),
            format_size(item["size_bytes"]),
            "  ".join(f"{name} {value:.4g}" for name, value in item["metrics"].items()) or "-",
            ", ".join(item["kept_by"]) or "nothing: the next save removes it",
        )
        for item in documents
    ]
    console.result({"checkpoints": documents}, text=lambda: console.table("Checkpoints", columns, rows))


@checkpoints.command()
@click.argument("run_id")
@click.argument("step", type=click.IntRange(min=0))
@click.option("--undo", is_flag=True, help="Let the policy decide about it again.")
@CATALOGUE
@JSON
def pin(*, run_id: str, step: int, undo: bool, catalogue: Path | None, as_json: bool) -> None:
    """Keep the checkpoint of STEP of RUN_ID, whatever the policy says.

    \b
    Examples:
      trimtab checkpoints pin RUN_ID 1200
      trimtab checkpoints pin RUN_ID 1200 --undo
    """
    from trimtab.storage import checkpoints as storage

    directory = _directories(find_project(catalogue).state / "results", run_id)[run_id]
    found = {item.step: item for item in storage.published(directory)}
    if step not in found:
        raise UsageError(
            f"the run {run_id} has no checkpoint of step {step}",
            why=f"it has {', '.join(map(str, found)) or 'none'}",
            remedy="name one of these: trimtab checkpoints list",
        )
    (storage.unpin if undo else storage.pin)(found[step])
    console = Console(as_json=as_json)
    document = {"run_id": run_id, "step": step, "pinned": not undo}
    console.result(document, text=lambda: console.line(f"{run_id} step {step} is {'no longer ' * undo}pinned"))


@checkpoints.command()
@click.argument("run_id")
@click.option("--keep-last", type=click.IntRange(min=1), help="The newest that stay; default: the run's own policy.")
@click.option("--keep-best", type=click.IntRange(min=1), help="The best that stay; default: the run's own policy.")
@CATALOGUE
@DRY_RUN
@JSON
def prune(
    *,
    run_id: str,
    keep_last: int | None,
    keep_best: int | None,
    catalogue: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove the checkpoints of RUN_ID that nothing keeps: never the last, the best or a pinned one.

    The newest is read back first: where it is damaged, nothing is removed.

    \b
    Examples:
      trimtab checkpoints prune RUN_ID --dry-run
      trimtab checkpoints prune RUN_ID --keep-last 1
    """
    from trimtab.storage.checkpoints import open_store, published, retention_of

    directory = _directories(find_project(catalogue).state / "results", run_id)[run_id]
    found = published(directory)
    policy = _narrowed(retention_of(found), keep_last, keep_best)
    removable = policy.removable(found)
    if removable and not dry_run:
        _require_sound(found[-1])
        with open_store(directory, run_id=run_id, retention=policy) as store:
            removable = store.prune()
    freed_bytes = sum(_size_bytes(item) for item in removable)
    document = {
        "run_id": run_id,
        "dry_run": dry_run,
        "removed": [item.step for item in removable],
        "freed_bytes": freed_bytes,
    }
    console = Console(as_json=as_json)
    steps = ", ".join(str(item.step) for item in removable) or "none"
    verb = "would be removed" if dry_run else "removed"
    console.result(document, text=lambda: console.line(f"{verb}: {steps} ({format_size(freed_bytes)})"))


def _directories(results: Path, run_id: str | None) -> dict[str, Path]:
    """Return where the asked for runs keep their checkpoints. Raises UsageError for a run that is not there."""
    from trimtab.storage.runs import list_runs, read_run

    if run_id is None:
        return {record.run_id: results / record.run_directory for record in list_runs(results).records}
    record = read_run(results, run_id)
    if record is None:
        raise UsageError(
            f"there is no run {run_id}",
            why=f"{results / 'runs'} has no record of it",
            remedy=f"`trimtab runs` lists those that there are; one that lies elsewhere: trimtab runs fetch {run_id}",
        )
    return {run_id: results / record.run_directory}


def _narrowed(policy: Retention, keep_last: int | None, keep_best: int | None) -> Retention:
    return replace(policy, keep_last=keep_last or policy.keep_last, keep_best=keep_best or policy.keep_best)


def _require_sound(newest: Checkpoint) -> None:
    if damage := newest.damage():
        raise UsageError(
            f"nothing was removed: {newest.path} is damaged",
            why=damage,
            remedy="let the run go on once: it sets the damaged one aside and takes the one before it",
        )


def _size_bytes(item: Checkpoint) -> int:
    return sum(file.size_bytes for file in item.files)


def _document(run_id: str, item: Checkpoint, reasons: tuple[str, ...]) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "step": item.step,
        "saved_at": item.saved_at.isoformat(),
        "size_bytes": _size_bytes(item),
        "metrics": dict(item.metrics),
        "kept_by": list(reasons),
        "path": str(item.path),
    }
