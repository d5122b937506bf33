"""The words of deploy/modal/app.py around a function that trains nothing: it ends, or fails, as its config says."""

from __future__ import annotations

import json
import sys

import modal

app = modal.App("harbour")


@app.function()
def train(job: str, config: str, *, resume: bool) -> str:
    if config == "broken":
        raise RuntimeError("the tide is out")
    return f"{job} with {config or 'its own config'}{', gone on with' if resume else ''}"


@app.local_entrypoint()
def main(action: str, job: str, config: str = "", resume: bool = False, wait: str = "yes") -> None:  # noqa: FBT001, FBT002 - Modal makes flags of these
    assert (action, wait) == ("train", "no")
    call = train.spawn(job, config, resume=resume)
    sys.stdout.write(f"{json.dumps({'app_id': app.app_id, 'call_id': call.object_id})}\n")
