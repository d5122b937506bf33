"""What an estimate begins with: the machine of a job's profile, and how long its last run computed.

Asks `deploy.modal.resources` (a program of its own: resources live there alone), reads the ledger and the registry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.cost.estimate import Machine
from trimtab.cost.ledger import Ledger
from trimtab.cost.spending import is_probe, worked_on_modal
from trimtab.errors import UsageError
from trimtab.process import Command, Runner
from trimtab.units import GIB, MIB

if TYPE_CHECKING:
    from pathlib import Path

    from trimtab.project import Project
    from trimtab.storage.runs import RunRecord


def machine_of(project: Project, runner: Runner, job: str, *, profile: str | None = None) -> Machine:
    """Return what the job's function is given on Modal, in its own profile or in a named one.

    Raises UsageError for a job without a profile, and what the profiles' own program says is wrong.
    """
    command = Command(
        argv=project.python_argv("deploy.modal.resources", "--json", *(("--profile", profile) if profile else ())),
        cwd=project.root,
        hint="mend deploy/modal/profiles/",
        house=True,
    )
    profiles = json.loads(runner.run(command).stdout)
    if job not in profiles:
        raise UsageError(
            f"job {job} has no resources on Modal",
            why=f"deploy/modal/profiles/ holds {', '.join(profiles) or 'none'}",
            remedy=f"write deploy/modal/profiles/{job}.toml like its neighbours",
        )
    return machine_from(profiles[job])


def machine_from(given: Mapping[str, Any]) -> Machine:
    """Return a profile of deploy/modal/profiles/ as what is paid for."""
    region = given["region"]
    return Machine(
        gpu=given["gpu"] or None,
        gpu_count=given["gpu_count"],
        cores=given["cores"],
        memory_gib=given["memory_mib"] * MIB / GIB,
        disk_gib=given["disk_mib"] * MIB / GIB,
        timeout_s=given["timeout_s"],
        retries=given["retries"],
        # `eu` is a broad region, `eu-west-1` a narrow one: https://modal.com/docs/guide/region-selection
        region=("narrow" if "-" in region else "broad") if region else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """How long the steps take, and how that is known."""

    compute_s: float
    told: str


def as_last_time(project: Project, job: str, machine: Machine, *, steps: int | None = None) -> Basis | None:
    """Return how long a job computes by its last run: on Modal on such a machine, else on this one; None without any.

    With `steps`, the rate of that run, which may be a probe; without, its whole time, for which it must have finished.
    """
    worked = worked_on_modal(Ledger(project.state / "ledger.jsonl"), job)
    for last in (one for one in worked if one["step_s"] and _is_like(one["machine"], machine)):
        where = f"run {last['run_id']} on {_named(machine)}"
        if steps is not None:
            rate = last["steps"] / last["step_s"]
            return Basis(compute_s=steps / rate, told=f"{steps:,} steps at {rate:.3g} a second, the rate of {where}")
        if last["state"] == "finished" and not is_probe(job, last["run_id"]):
            whole_s = sum(one["step_s"] for one in worked if one["run_id"] == last["run_id"])
            return Basis(compute_s=whole_s, told=f"as long as {where} took")
    record = last_finished(project, job)
    if record is None or not (seconds := computed_s(record)):
        return None
    where = f"run {record.run_id} took on this machine"
    if steps is None:
        return Basis(compute_s=seconds, told=f"as long as {where}")
    done = record.attempts[-1].last_step
    if not done:
        return None
    told = f"{steps:,} steps at {done / seconds:.3g} a second, as {where}"
    return Basis(compute_s=steps * seconds / done, told=told)


def steps_of(config: Path) -> int | None:
    """Return the `steps` of a configuration, its own or its `optimisation`'s; None where it counts otherwise."""
    import yaml

    try:
        values = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(
            f"the configuration {config} cannot be read", why=str(error), remedy="name another file; see configs/"
        ) from error
    for section in (values, values.get("optimisation") if isinstance(values, dict) else None):
        if isinstance(section, dict) and isinstance(section.get("steps"), int):
            return int(section["steps"])
    return None


def last_finished(project: Project, job: str) -> RunRecord | None:
    """Return the job's newest run that finished on this machine, or None."""
    from trimtab.storage.runs import list_runs

    records = list_runs(project.state / "results").records
    return next((record for record in records if record.job == job and record.outcome == "finished"), None)


def computed_s(record: RunRecord) -> float:
    """Return the seconds that the attempts of a run took, as far as they were told; a killed one cannot tell."""
    return sum((attempt.ended - attempt.started).total_seconds() for attempt in record.attempts if attempt.ended)


def _is_like(found: Mapping[str, Any], machine: Machine) -> bool:
    return (found["gpu"], found["gpu_count"], found["cores"]) == (machine.gpu, machine.gpu_count, machine.cores)


def _named(machine: Machine) -> str:
    gpu = f"{machine.gpu_count} x {machine.gpu}, " if machine.gpu else ""
    return f"{gpu}{machine.cores:g} cores"
