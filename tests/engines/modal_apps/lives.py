"""Functions that take their time, so that something can happen to them meanwhile."""
# ruff: noqa: T201 - what functions print is part of what is tested

import os
import time
from pathlib import Path

import modal

app = modal.App("lives")
volume = modal.Volume.from_name("lives-steps", create_if_missing=True)
STEPS = Path("/steps")


@app.function(volumes={"/steps": volume}, retries=modal.Retries(max_retries=2, initial_delay=0.0))
def trains(name: str, steps: int) -> list[str]:
    """Do steps from the last one that was committed."""
    volume.reload()
    done = STEPS / f"{name}.done"
    log = done.read_text().split() if done.exists() else []
    print(f"{name} begins at step {len(log)}")
    while len(log) < steps:
        log.append(os.environ["MODAL_TASK_ID"])
        done.write_text(" ".join(log))
        volume.commit()
        print(f"{name} did step {len(log)}")
        time.sleep(1)
    return log


@app.function(volumes={"/steps": volume}, retries=modal.Retries(max_retries=2, initial_delay=0.0))
def falls() -> tuple[bool, bool]:
    """Leave something committed and something not, and be gone; tell in the next attempt what is there of both."""
    kept, lost = STEPS / "kept", STEPS / "lost"
    if kept.exists():
        return kept.exists(), lost.exists()
    kept.touch()
    volume.commit()
    lost.touch()
    os._exit(9)


@app.function(timeout=3, volumes={"/steps": volume}, retries=modal.Retries(max_retries=5, initial_delay=0.0))
def crawls(name: str, steps: int) -> int:
    """Take longer than an attempt may, and go on where the last attempt was cut off."""
    volume.reload()
    done = STEPS / name
    number = int(done.read_text()) if done.exists() else 0
    for step in range(number, steps):
        time.sleep(1)
        done.write_text(str(step + 1))
        volume.commit()
    return number


@app.function()
def waits(seconds: float) -> str:
    print("waiting")
    time.sleep(seconds)
    return "waited"


@app.function()
def dies(code: int) -> None:
    os._exit(code)


@app.function(single_use_containers=True)
def once() -> str:
    return os.environ["MODAL_TASK_ID"]


@app.function()
@modal.concurrent(max_inputs=4)
def together(number: int) -> str:
    time.sleep(0.3)
    return os.environ["MODAL_TASK_ID"]


@app.function()
@modal.batched(max_batch_size=4, wait_ms=300)
def batches(numbers: list[int]) -> list[int]:
    return [len(numbers)] * len(numbers)


@app.function()
def asks(number: int) -> int:
    """Call another function from within a container."""
    return sum(doubles.map(range(number)))


@app.function()
def doubles(number: int) -> int:
    print(f"doubling {number}")
    return 2 * number


@app.function()
def peeks(call_id: str, volume_name: str) -> list[str]:
    """Try to reach what belongs to another app."""
    said = []
    try:
        modal.FunctionCall.from_id(call_id).get(timeout=0)
    except modal.exception.Error as error:
        said.append(str(error))
    try:
        modal.Volume.from_name(volume_name).listdir("/")
    except modal.exception.Error as error:
        said.append(str(error))
    return said


@app.local_entrypoint()
def main(seconds: float = 0.1) -> None:
    print("it", waits.remote(seconds))


@app.local_entrypoint()
def launch(seconds: float = 0.1) -> None:
    print("call", waits.spawn(seconds).object_id)
