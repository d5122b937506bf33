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
from trimtab.steps.modal_client import APP, NOTED, TOLD, plane_settings

SAVING_S: Final = 30.0
"""What an attempt has to save in when it is interrupted, here as on Modal."""
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


def modal_run_words(job: str, *, config: Path, run_id: str, must_resume: bool) -> tuple[str, ...]:
    """Return the app's own words that train a job."""
    words = ("--action", "train", "--job", job, "--config", str(config), "--run-id", run_id)
    return (*words, *(("--resume",) if must_resume else ()))


def train_on_modal(
    project: Project, runner: Runner, words: tuple[str, ...], *, run_id: str, results: Path, say: Say
) -> None:
    """Run it to its end. Raises ProgramError when that is not reached; what was committed stays on the Volume."""
    from trimtab.emulation.modal import control
    from trimtab.storage.runs import read_run

    plane = control.ensure_running(project.state / "modal", plane_settings(project, runner="docker"))
    say(f"modal run {APP}, on the embedded Modal at {plane.server_url}")
    goes_on = "run the same command again: it goes on from the last commit"
    command = Command(
        argv=(sys.executable, "-c", TOLD, "run", str(project.root / APP), *words, "--results", str(results)),
        env={
            **plane.environment(),
            "TRIMTAB_CATALOGUE": str(project.catalogue_path.absolute()),
            "TRIMTAB_STATE": str(project.state),
            "COLUMNS": str(_SHOWN_CHARACTERS),
            NOTED: "1",  # it costs nothing here, and its step's line in the ledger says what it took
        },
        cwd=project.root,
        hint=f"{goes_on}; `modal app logs` has all that was said",
        grace_s=SAVING_S,
    )
    runner.run(command, on_line=lambda line: say(line[:_SHOWN_CHARACTERS]) if line.strip() else None)
    record = read_run(results, run_id)
    if record is None or record.outcome != "finished":
        raise ProgramError(
            f"modal run ended before the run {run_id} did",
            why="it was interrupted, which the client ends well with, or its app was stopped",
            remedy=goes_on,
        )
