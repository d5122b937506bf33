"""The Modal app of this project: a function for each job of the catalogue, and for what goes before and after.

    modal run [--detach] deploy/modal/app.py --action ACTION [--config FILE] [--profile NAME] [--resume] ...
    modal run [--detach] deploy/modal/app.py::train --config-path FILE            ::NAME is --action of that function
    modal deploy deploy/modal/app.py                                              all functions, on their own machines

Reads the data from the bucket, read-only, with the job's role; keeps results on a Volume and commits after each
checkpoint; what is preempted, killed or out of time goes on from there in the next attempt. Functions stand in `jobs/`,
machines in `profiles/`, what runs in a container in `attempts.py`, names in trimtab.yaml.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import modal

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from deploy.modal.desk import Desk, said_plainly  # noqa: E402 - the client puts this file's folder on the path, not ours
from deploy.modal.launch import Launch  # noqa: E402

app = modal.App()
with said_plainly():
    DESK = Desk.of(ROOT, sys.argv)
    if DESK is not None:
        app = modal.App(DESK.catalogue.modal.app)
        DESK.declare(app)


@app.local_entrypoint()
def main(  # noqa: PLR0913, PLR0917 - Modal makes flags of these
    action: str = "",
    job: str = "",
    config: str = "",
    config_path: str = "",
    profile: str = "",
    run_id: str = "",
    resume: bool = False,  # noqa: FBT001, FBT002 - Modal makes a flag of it
    wait: str = "yes",
    results: str = "",
    cap_seconds: float = 0.0,
    max_usd: float = 0.0,
) -> None:
    """Launch one function: to its end, or with `--wait no` until it is under way."""
    if DESK is None:
        raise AssertionError("only help was asked for")
    words = Launch(
        action=action,
        job=job,
        config=config,
        config_path=config_path,
        profile=profile,
        run_id=run_id,
        resume=resume,
        wait=wait,
        results=results,
        cap_seconds=cap_seconds,
        max_usd=max_usd,
    )
    with said_plainly():
        call, told = DESK.start(words, str(app.app_id))
    sys.stdout.write(f"{json.dumps(told)}\n")
    sys.stdout.flush()
    if wait == "no":
        return
    document = call.get()
    if results:
        with said_plainly():
            DESK.fetch(document, Path(results))
    sys.stdout.write(f"{json.dumps(document)}\n")


# app.py::NAME is this entry point, too, with that function's action: one place refuses what is wrong.
if DESK is not None:
    globals().update(dict.fromkeys(DESK.functions, main))
