"""Twelve kinds of function, as a person would write them: this file runs unchanged on Modal and on the embedded one."""
# ruff: noqa: T201 - what functions print is part of what is tested

import os
import time
from pathlib import Path

import modal

app = modal.App("harbour")
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


charts = modal.CloudBucketMount(
    os.environ.get("CHARTS_BUCKET", "harbour-charts-dev"),
    key_prefix="datasets/tides/",
    oidc_auth_role_arn=os.environ.get("CHARTS_ROLE", "arn:aws:iam::123456789012:role/tides"),
    read_only=True,
)


@app.function(volumes={"/charts": charts})
def looks(name: str) -> tuple[list[str], str]:
    return sorted(path.name for path in Path("/charts").iterdir()), (Path("/charts") / name).read_text()


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
    yield from range(upto)


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
