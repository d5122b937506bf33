"""What an estimate begins with: the machine of a job's profile, and how long its last finished run computed.

Asks `deploy.modal.resources` (a program of its own: resources live there alone) and reads the registry of runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trimtab.cost.estimate import Machine
from trimtab.errors import UsageError
from trimtab.process import Command, Runner
from trimtab.units import GIB, MIB

if TYPE_CHECKING:
    from trimtab.project import Project
    from trimtab.storage.runs import RunRecord


def machine_of(project: Project, runner: Runner, job: str) -> Machine:
    """Return what the job's function is given on Modal. Raises UsageError for a job without a profile."""
    command = Command(
        argv=project.python_argv("deploy.modal.resources", "--json"),
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
    profile = profiles[job]
    region = profile["region"]
    return Machine(
        gpu=profile["gpu"] or None,
        gpu_count=profile["gpu_count"],
        cores=profile["cores"],
        memory_gib=profile["memory_mib"] * MIB / GIB,
        disk_gib=profile["disk_mib"] * MIB / GIB,
        timeout_s=profile["timeout_s"],
        retries=profile["retries"],
        # `eu` is a broad region, `eu-west-1` a narrow one: https://modal.com/docs/guide/region-selection
        region=("narrow" if "-" in region else "broad") if region else None,
    )


def last_finished(project: Project, job: str) -> RunRecord | None:
    """Return the job's newest finished run on this machine, or None."""
    from trimtab.storage.runs import list_runs

    records = list_runs(project.state / "results").records
    return next((record for record in records if record.job == job and record.outcome == "finished"), None)


def computed_s(record: RunRecord) -> float:
    """Return the seconds that the attempts of a run took, as far as they were told; a killed one cannot tell."""
    return sum((attempt.ended - attempt.started).total_seconds() for attempt in record.attempts if attempt.ended)
