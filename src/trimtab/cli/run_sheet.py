"""How a run is shown: as a row, as a sheet, beside others, as a document. Prints results; asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from trimtab.console import Console
from trimtab.cost.spending import spent_on, spent_usd
from trimtab.storage.registry import Run
from trimtab.units import format_duration, format_usd

COLUMNS: Final = ("run", "job", "state", "attempts", "step", "measured", "cost", "where", "last seen")
_GOES_ON: Final = frozenset({"launched", "starting", "running"})


def document_of(run: Run) -> dict[str, Any]:
    """Return all that is known of a run, with what it cost so far, as plain data."""
    costs = [
        {
            "call_id": spent.launch.call_id,
            "attempts": spent.attempts,
            "seconds": spent.seconds,
            "usd": spent.usd,
            "predicted_usd": spent.launch.predicted_usd.get("likely"),
            "max_usd": spent.launch.max_usd,
        }
        for spent in spent_on(run)
    ]
    return {**run.document(), "cost": {"usd": sum(cost["usd"] for cost in costs), "launches": costs}}


def row_of(run: Run) -> tuple[str, ...]:
    """Return a run as one row under `COLUMNS`."""
    attempts = run.record.attempts if run.record else ()
    seen = max((one.ended or one.seen or one.started for one in attempts), default=None)
    return (
        run.run_id,
        run.job,
        run.state,
        str(len(attempts)),
        str(attempts[-1].last_step) if attempts else "-",
        _measured(run),
        format_usd(spent_usd(run)) if run.launches else "-",
        ", ".join(run.places),
        f"{seen:%Y-%m-%d %H:%M}" if seen else "-",
    )


def _measured(run: Run) -> str:
    """Say the run's result in a word: its first final number, else the newest epoch's."""
    final = run.record.final if run.record else None
    metrics: Mapping[str, Any] = final or (run.record.epochs[-1].metrics if run.record and run.record.epochs else {})
    numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
    return next((f"{name} {value:.4f}" for name, value in numbers.items()), "-")


def show(console: Console, run: Run) -> None:
    """Print all that a person wants to know of a run."""
    document = document_of(run)
    record = run.record
    console.line(f"run       {run.run_id} ({run.job}), {run.state}" + (f": {run.error}" if run.error else ""))
    console.line(f"known     {', '.join(run.places)}")
    if record:
        console.line(
            f"inputs    commit {record.commit or '-'}, data {record.data_sha256[:12]},"
            f" configuration {record.config_sha256[:12]}"
        )
        console.line(f"files     {record.run_directory}, {len(record.artifacts)} artifacts")
    for launch in run.launches:
        machine = launch.machine
        gpu = f"{machine.gpu_count} x {machine.gpu}" if machine.gpu else "no GPU"
        console.line(
            f"launch    {launch.call_id} on {launch.server}, {launch.launched:%Y-%m-%d %H:%M}, from {launch.host}"
        )
        console.line(
            f"machine   {gpu}, {machine.cores:g} cores, {machine.memory_gib:g} GiB, {machine.usd_per_hour:.3f} $/h"
        )
    for cost, launch in zip(document["cost"]["launches"], run.launches, strict=True):
        predicted = _predicted(launch.predicted_usd)
        cap = f", at most {format_usd(cost['max_usd'])}" if cost["max_usd"] is not None else ""
        console.line(f"cost      {format_usd(cost['usd'])} for {format_duration(cost['seconds'])}{predicted}{cap}")
    if run.launches:
        for verb in ("follow", "stop", "fetch") if run.state in _GOES_ON else ("fetch",):
            console.line(f"{verb:<10}trimtab runs {verb} {run.run_id}")
    if record and record.attempts:
        rows = [
            (
                f"{one.started:%Y-%m-%d %H:%M:%S}",
                format_duration(((one.ended or one.seen or one.started) - one.started).total_seconds()),
                one.outcome,
                f"{one.first_step} to {one.last_step}",
                one.message or "",
            )
            for one in record.attempts
        ]
        console.table("Attempts", ("started", "took", "outcome", "steps", "said"), rows)
    if record and record.final:
        numbers = [(name, f"{value:.6g}") for name, value in record.final.items() if isinstance(value, int | float)]
        console.table("Measured", ("", "value"), numbers)


def _predicted(usd: Mapping[str, float]) -> str:
    if not usd:
        return ""
    return f", predicted {format_usd(usd['likely'])} ({format_usd(usd['low'])} to {format_usd(usd['high'])})"


def compared(chosen: Sequence[Run]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return what differs of what went in, and the numbers that came out, by name and in the runs' order."""
    went_in = [
        _flat({"config": run.record.config, "commit": run.record.commit, "data": run.record.data_sha256})
        if run.record
        else {}
        for run in chosen
    ]
    machines = [_flat({"machine": run.launches[0].machine.model_dump()}) if run.launches else {} for run in chosen]
    inputs = [{**one, **machine} for one, machine in zip(went_in, machines, strict=True)]
    came_out = [_outcomes(run) for run in chosen]
    differing = {
        name: [one.get(name) for one in inputs]
        for name in sorted({name for one in inputs for name in one})
        if any(one.get(name) != inputs[0].get(name) for one in inputs)
    }
    names = dict.fromkeys(name for one in came_out for name in one)
    return differing, {name: [one.get(name) for one in came_out] for name in names}


def _outcomes(run: Run) -> dict[str, Any]:
    attempts = run.record.attempts if run.record else ()
    last = run.record.epochs[-1].metrics if run.record and run.record.epochs else {}
    final = (run.record.final if run.record else None) or {}
    return {
        "state": run.state,
        "steps": attempts[-1].last_step if attempts else 0,
        "attempts": len(attempts),
        **last,
        **{name: value for name, value in final.items() if isinstance(value, int | float | str)},
        "usd": spent_usd(run) if run.launches else None,
    }


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
        found |= inner
    return found


def cells(table: Mapping[str, Sequence[Any]]) -> list[tuple[str, ...]]:
    """Return rows of text: a name, and one value for each run."""

    def cell(value: Any) -> str:
        return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)

    return [(name, *map(cell, values)) for name, values in table.items()]
