"""Twelve kinds of function, as a person would write them: this file runs unchanged on Modal and on the embedded one."""

import os
import time
from pathlib import Path

import modal

app = modal.App("kinds")
volume = modal.Volume.from_name("kinds-results", create_if_missing=True)
attempts = modal.Volume.from_name("kinds-attempts", create_if_missing=True)


@app.function()
def plain(number: int) -> int:
    print(f"plain got {number}")
    return number * number


@app.function(volumes={"/results": volume})
def writes(text: str) -> None:
    Path("/results/note.txt").write_text(text)
    volume.commit()


@app.function(volumes={"/results": volume})
def reads() -> str:
    volume.reload()
    return Path("/results/note.txt").read_text()


@app.cls()
class Counter:
    start: int = modal.parameter(default=0)

    @modal.enter()
    def open(self) -> None:
        self.value = self.start
        print(f"enter with {self.start}")

    @modal.method()
    def add(self, number: int) -> int:
        self.value += number
        return self.value

    @modal.exit()
    def close(self) -> None:
        print(f"exit with {self.value}")


@app.function()
def counts(upto: int):
    for number in range(upto):
        yield number


@app.function(max_containers=2)
def square(number: int) -> tuple[int, str]:
    time.sleep(0.01)
    return number * number, os.environ["MODAL_TASK_ID"]


@app.function()
def add(left: int, right: int) -> int:
    return left + right


@app.function(volumes={"/attempts": attempts}, retries=modal.Retries(max_retries=3, initial_delay=0.0))
def third_time(name: str) -> int:
    attempts.reload()
    mark = Path("/attempts") / name
    number = int(mark.read_text()) + 1 if mark.exists() else 1
    mark.write_text(str(number))
    attempts.commit()
    if number < 3:
        raise RuntimeError(f"attempt {number} fails")
    return number


@app.function(timeout=1)
def sleeps(seconds: float) -> None:
    time.sleep(seconds)


@app.function()
def fails(text: str) -> None:
    raise ValueError(text)


@app.function()
def big(size: int) -> bytes:
    return b"\x07" * size


@app.function(secrets=[modal.Secret.from_dict({"FAVOURITE": "albatross"})])
def told() -> str:
    return os.environ["FAVOURITE"]


@app.function(schedule=modal.Cron("0 4 * * *"))
def nightly() -> str:
    print("the night shift")
    return "done"


@app.local_entrypoint()
def main() -> None:
    print("plain:", plain.remote(12))


@app.local_entrypoint()
def everything() -> None:
    print("plain:", plain.remote(12))
    writes.remote("a note")
    print("volume:", reads.remote())
    counter = Counter(start=40)
    print("class:", counter.add.remote(1), counter.add.remote(1))
    print("generator:", list(counts.remote_gen(5)))
    results = list(square.map(range(100)))
    print("map:", sum(value for value, _ in results), "containers:", len({task for _, task in results}))
    print("starmap:", list(add.starmap([(1, 2), (3, 4)])))
    print("retries:", third_time.remote(f"run-{time.time_ns()}"))
    try:
        sleeps.remote(60)
    except modal.exception.FunctionTimeoutError as error:
        print("timeout:", error)
    try:
        fails.remote("no such bird")
    except ValueError as error:
        print("exception:", error)
    print("big:", len(big.remote(5 * 1024 * 1024)))
    print("secret:", told.remote())
    call = plain.spawn(7)
    print("spawn:", call.get())
