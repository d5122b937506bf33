# ruff: noqa: INP001 - a script that is run by its path, not a package
"""How fast the embedded Modal is, and how much it takes: `modal run`, a map of 1,000 inputs, 10,000 calls.

Starts a plane of its own in a temporary folder and drives it with the real client in processes of their own. Prints
one JSON document; `--only run|map|calls` does a part, `--runner` chooses what attempts run in.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from trimtab.catalogue import load_catalogue
from trimtab.emulation.modal import control
from trimtab.emulation.modal.control import RunningPlane
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.process import Secret

ROOT = Path(__file__).resolve().parents[2]
APP = Path(__file__).with_name("app.py")

MAP = """
import json, modal, time
f = modal.Function.from_name("benchmark", "{name}")
f.remote(1)
walls = []
for _ in range(3):
    started = time.monotonic()
    assert list(f.map(range(1000))) == [2 * n for n in range(1000)]
    walls.append(time.monotonic() - started)
print(json.dumps(walls))
"""

CALLS = """
import asyncio, json, modal
async def main():
    f = modal.Function.from_name("benchmark", "double_together")
    for _ in range(10):
        assert sum(await asyncio.gather(*(f.remote.aio(1) for _ in range(100)))) == 200
asyncio.run(main())
"""


def environment(plane: RunningPlane) -> dict[str, str]:
    words = {k: v.reveal() if isinstance(v, Secret) else v for k, v in plane.environment().items()}
    return {**{k: v for k, v in os.environ.items() if not k.startswith("MODAL_")}, **words}


def client(plane: RunningPlane, *words: str) -> str:
    done = subprocess.run((sys.executable, *words), env=environment(plane), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def measure_run(plane: RunningPlane, rounds: int) -> dict[str, Any]:
    """Time `modal run` as a whole; the plane's part is its processor time, for it does nothing but answer."""
    process = psutil.Process(plane.pid)
    walls, processor, starts = [], [], []
    for number in range(rounds + 1):
        before = process.cpu_times()
        started = time.monotonic()
        client(plane, "-m", "modal", "run", str(APP))
        wall = time.monotonic() - started
        after = process.cpu_times()
        if number:  # the first one builds the image and warms the files
            walls.append(wall)
            processor.append(after.user + after.system - before.user - before.system)
    for app in plane.ask("status")["apps"][1:]:
        starts += [one["started_at"] - one["created_at"] for one in app["containers"] if one["started_at"]]
    return {
        "wall_s": _spread(walls),
        "container_start_s": _spread(starts),
        "plane_processor_s": _spread(processor),
    }


def measure_map(plane: RunningPlane) -> dict[str, Any]:
    """Count inputs a second of a map over 1,000, its containers warm."""
    answer = {}
    for name in ("double", "double_together"):
        walls = json.loads(client(plane, "-c", MAP.format(name=name)))
        answer[name] = {"inputs_per_s": _spread([1000 / wall for wall in walls])}
    return answer


def measure_calls(plane: RunningPlane) -> dict[str, Any]:
    """Watch the plane's memory over 10,000 calls."""
    process = psutil.Process(plane.pid)
    client(plane, "-c", CALLS)
    resident = [process.memory_info().rss]
    started = time.monotonic()
    for _ in range(10):
        client(plane, "-c", CALLS)
        resident.append(process.memory_info().rss)
    wall = time.monotonic() - started
    return {
        "resident_mib_after_each_1000_calls": [round(size / 2**20, 1) for size in resident],
        "calls_per_s": round(10_000 / wall),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "fastest": round(min(values), 3),
        "median": round(statistics.median(values), 3),
        "slowest": round(max(values), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["run", "map", "calls"])
    parser.add_argument("--runner", choices=["auto", "docker", "namespace"], default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    catalogue = load_catalogue(ROOT / "trimtab.yaml")
    settings = PlaneSettings(
        workspace=catalogue.modal.workspace,
        environment=catalogue.modal.environment,
        runner=options.runner,
        base_image=catalogue.base_image,
        aws_state_dir="",
    )
    with tempfile.TemporaryDirectory() as folder:
        state_dir = Path(folder) / "modal"
        plane = control.ensure_running(state_dir, settings)
        answer: dict[str, Any] = {"runner": plane.runner, "cpus": os.cpu_count(), "load_before": os.getloadavg()[0]}
        try:
            if options.only in {None, "run"}:
                answer["run"] = measure_run(plane, options.rounds)
            client(plane, "-m", "modal", "deploy", str(APP))
            if options.only in {None, "map"}:
                answer["map"] = measure_map(plane)
            if options.only in {None, "calls"}:
                answer["calls"] = measure_calls(plane)
        finally:
            control.stop(state_dir)
    answer["load_after"] = os.getloadavg()[0]
    print(json.dumps(answer, indent=2))  # noqa: T201 - a benchmark's result


if __name__ == "__main__":
    main()
