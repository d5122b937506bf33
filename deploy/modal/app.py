"""The Modal app of this project: one function for each job of the catalogue, around the job's own program.

    modal run deploy/modal/app.py --action train --job JOB [--config FILE] [--run-id ID] [--resume]
                                  [--wait no] [--results DIR]

Reads the data from the bucket, read-only, with the job's role; keeps results on a Volume and commits it after each
checkpoint; what is preempted, killed or out of time goes on from there in the next attempt. Names come from
trimtab.yaml, resources from profiles/JOB.toml, the role from the infrastructure's outputs. In a container this file is
imported again, where none of these are: everything but `train` is declared at the desk only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import modal

RESULTS = "/results"
DATA = "/data"


def train(
    job: str, config: str, *, volume: str, run_id: str | None, must_resume: bool, commit: str | None
) -> dict[str, Any]:
    """Run one attempt of a job in a container and return its record; `config` is the configuration's text."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from training.harness.attempt import Hooks, run_job

    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: stopped.append(number))  # a preemption: 30 s are left
    results = modal.Volume.from_name(volume)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(config)
        result = run_job(
            job,
            config=path,
            data=Path(DATA),
            results=Path(RESULTS),
            run_id=run_id,
            must_resume=must_resume,
            git_commit=commit,
            hooks=Hooks(stop=lambda: bool(stopped), say=_say, commit=results.commit),
        )
    results.commit()
    if result.outcome == "interrupted":
        raise KeyboardInterrupt  # no result: the same input is given to the next attempt
    record: dict[str, Any] = result.record.model_dump(mode="json")
    return {"outcome": result.outcome, "resumed_from_step": result.resumed_from_step, "record": record}


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if modal.is_local():
    ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]

    from deploy.modal.desk import Desk, said_plainly

    with said_plainly():
        DESK = Desk.of(ROOT)
        app = modal.App(DESK.catalogue.modal.app)
        for name in DESK.catalogue.jobs:
            DESK.declare(app, name, train)
else:
    app = modal.App()


@app.local_entrypoint()
def main(
    action: str = "train",
    job: str = "",
    config: str = "",
    run_id: str = "",
    resume: bool = False,  # noqa: FBT001, FBT002 - Modal makes flags of these
    wait: str = "yes",
    results: str = "",
) -> None:
    """Train a job: to its end, or with `--wait no` until it is under way."""
    with said_plainly():
        DESK.check(action=action, job=job, wait=wait)
        call = DESK.functions[job].spawn(
            job,
            DESK.config_text(job, config),
            volume=DESK.volume_name,
            run_id=run_id or None,
            must_resume=resume,
            commit=DESK.commit(),
        )
    sys.stdout.write(f"{json.dumps({'app_id': app.app_id, 'call_id': call.object_id})}\n")
    sys.stdout.flush()
    if wait == "no":
        return
    document = call.get()
    if results:
        DESK.fetch(document["record"], Path(results))
    sys.stdout.write(f"{json.dumps(document)}\n")
