"""A function that saves checkpoints on a Volume until it is interrupted, to be killed meanwhile."""
# ruff: noqa: T201 - what functions print is part of what is tested

import signal
from pathlib import Path

import modal

app = modal.App("saves")
volume = modal.Volume.from_name("saves-results", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11").add_local_python_source("trimtab")


@app.function(
    image=image,
    volumes={"/results": volume},
    retries=modal.Retries(max_retries=10, initial_delay=0.0),
    single_use_containers=True,
)
def saves(directory: str, policy: dict[str, object]) -> None:
    """Go on from the newest checkpoint; after an interrupt save a last one."""
    from trimtab.storage.checkpoints import open_store
    from trimtab.storage.retention import Retention

    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    retention = Retention(**policy)
    with open_store(Path("/results", directory), run_id="killed", retention=retention, commit=volume.commit) as store:
        newest = store.newest_complete()
        step = newest.step if newest else 0
        print(f"goes on from {step}", flush=True)
        is_last = False
        while not is_last:
            is_last = bool(interrupts)
            step += 1
            content = f"{step:010d}".encode() * 10_000
            metrics = {"loss": step * 7919 % 1009 / 1009}
            store.save(step, {"state": lambda stream, content=content: stream.write(content)}, metrics=metrics)
    raise KeyboardInterrupt  # as a preempted function ends: the same input is given to the next attempt
