"""The words of deploy/modal/app.py around a training that only counts: steps, checkpoints, a record, stops, a cap.

It keeps its record and its checkpoints as the harness does, with the toolkit's own stores, and needs neither data nor
torch. A configuration that is a number says how many steps it has, one every tenth of a second.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import modal

BEGAN = datetime.now(UTC)
app = modal.App("harbour")


@app.function(
    image=modal.Image.debian_slim().add_local_python_source("trimtab"),
    volumes={"/results": modal.Volume.from_name("harbour-results", create_if_missing=True)},
    retries=1,
)
def train(run_id: str, steps: int, cap_s: float | None) -> dict[str, Any]:
    from trimtab.storage.checkpoints import open_store
    from trimtab.storage.retention import Retention
    from trimtab.storage.runs import RunRecord, config_digest, read_run, used_s, write_run

    if steps == 13:
        raise RuntimeError("the tide is out")
    received: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    results, volume = Path("/results"), modal.Volume.from_name("harbour-results")
    known = read_run(results, run_id) or RunRecord(
        job="tides",
        run_id=run_id,
        run_directory=f"checkpoints/tides/2026-03-01/{run_id}",
        commit=None,
        config={"steps": steps},
        config_sha256=config_digest({"steps": steps}),
        data_sha256="0" * 64,
    )
    left_s = None if cap_s is None else cap_s - used_s(known, until=BEGAN)
    directory = results / known.run_directory
    directory.mkdir(parents=True, exist_ok=True)
    message, outcome = None, "finished"
    with open_store(directory, run_id=run_id, retention=Retention(keep_last=2), commit=volume.commit) as store:
        newest = store.newest_complete()
        step = newest.step if newest else 0
        call = modal.current_function_call_id()
        record = known.with_attempt_begun(started=datetime.now(UTC), first_step=step, began=BEGAN, call=call)
        while step < steps and not received:
            if left_s is not None and (datetime.now(UTC) - BEGAN).total_seconds() > left_s:
                message = "stopped by its budget limit"
                break
            time.sleep(0.1)
            step += 1
            print(f"step {step}", flush=True)  # noqa: T201 - what a training says
            if step % 10 == 0 or step == steps:
                record = record.with_attempt(last_step=step, seen=datetime.now(UTC))
                write_run(results, record)
                store.save(step, {"state.pt": partial(write, content=b"%d" % step * 1000)})
        if step < steps:
            outcome = "interrupted"
            if step % 10:
                store.save(step, {"state.pt": partial(write, content=b"%d" % step * 1000)})
    record = record.with_attempt(ended=datetime.now(UTC), outcome=outcome, message=message, last_step=step)
    write_run(results, record)
    volume.commit()
    if received:
        raise modal.exception.InputCancellation("stopped")
    return {"outcome": outcome}


def write(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)


@app.local_entrypoint()
def main(
    action: str,
    job: str,
    config: str,
    run_id: str,
    wait: str = "yes",
    resume: bool = False,  # noqa: FBT001, FBT002 - Modal makes a flag of it
    profile: str = "",
    cap_seconds: float = 0.0,
) -> None:
    assert (action, job, wait, resume, profile) == ("train", "tides", "no", False, "")
    call = train.spawn(run_id, int(Path(config).read_text()), cap_seconds or None)
    sys.stdout.write(f"{json.dumps({'app_id': app.app_id, 'call_id': call.object_id, 'profile': 'train'})}\n")
