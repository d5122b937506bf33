"""One way to train: `modal run deploy/modal/app.py`, unchanged, on the embedded Modal of this machine.

Starts the embedded Modal where it does not run, and the real client as a program. The job's container reads the bucket
through its role's mount; its results come back from the Volume.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Final

from trimtab.errors import ProgramError
from trimtab.executor import Say
from trimtab.images.engine import connect_or_none
from trimtab.process import Command, Runner
from trimtab.project import Project

APP: Final = "deploy/modal/app.py"
# The client writes all that it shows to standard output; a step's progress is what a program says on the other one.
_MODAL: Final = "import os, runpy; os.dup2(2, 1); runpy.run_module('modal', run_name='__main__', alter_sys=True)"
_SHOWN_CHARACTERS: Final = 160


def why_not_here(project: Project) -> str | None:
    """Return why jobs cannot train on the embedded Modal here, or None when they can."""
    from trimtab.emulation.modal import bucket_mount

    if not (project.root / APP).is_file():
        return f"{APP} does not exist"
    if importlib.util.find_spec("modal") is None:
        return "Modal's client is not installed"
    if connect_or_none() is None:
        return "no Docker engine answers"
    return bucket_mount.missing()


def modal_run_argv(project: Project, job: str, *, run_id: str, results: Path) -> tuple[str, ...]:
    """Return the argv that trains a job and brings its results to a folder."""
    return (
        sys.executable, "-c", _MODAL, "run", str(project.root / APP),
        "--action", "train",
        "--job", job,
        "--config", str(project.root / project.catalogue.jobs[job].config),
        "--run-id", run_id,
        "--results", str(results),
    )  # fmt: skip


def train_on_modal(project: Project, runner: Runner, job: str, *, run_id: str, results: Path, say: Say) -> None:
    """Run it to its end. Raises ProgramError when that is not reached; what was committed stays on the Volume."""
    from trimtab.emulation.modal import control
    from trimtab.emulation.modal.settings import PlaneSettings
    from trimtab.storage.runs import read_run

    catalogue = project.catalogue
    settings = PlaneSettings(
        workspace=catalogue.modal.workspace,
        environment=catalogue.modal.environment,
        runner="docker",
        base_image=catalogue.base_image,
        aws_state_dir=str(project.state / "aws"),
    )
    plane = control.ensure_running(project.state / "modal", settings)
    say(f"modal run {APP}, on the embedded Modal at {plane.server_url}")
    goes_on = "run the same command again: it goes on from the last commit"
    command = Command(
        argv=modal_run_argv(project, job, run_id=run_id, results=results),
        env={
            **plane.environment(),
            "TRIMTAB_CATALOGUE": str(project.catalogue_path.absolute()),
            "TRIMTAB_STATE": str(project.state),
            "COLUMNS": str(_SHOWN_CHARACTERS),
        },
        cwd=project.root,
        hint=f"{goes_on}; `modal app logs` has all that was said",
    )
    runner.run(command, on_line=lambda line: say(line[:_SHOWN_CHARACTERS]) if line.strip() else None)
    record = read_run(results, run_id)
    if record is None or record.outcome != "finished":
        raise ProgramError(
            f"modal run ended before {job} did",
            why="it was interrupted, which the client ends well with, or its app was stopped",
            remedy=goes_on,
        )
