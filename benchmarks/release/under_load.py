# ruff: noqa: INP001 - a script that is run by its path, not a package
"""Measure what a release costs the people who ask meanwhile: 50 requests a second, on kept and on new connections.

Five ways a release goes, on the real engine with a tiny service: a good image, one that never becomes healthy, one that
is healthy and answers the golden request wrongly, a rollback; and, to compare, the usual way of a compose file: the
container is replaced on its port, once the new image is there. Each is under load for --seconds, and begins a sixth of
that in. Reported: requests, those that failed, the longest and the 99th percentile, and how long the release took.

    python benchmarks/release/under_load.py [--seconds 60] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from tests.support.engine import free_port, require_engine, tidied_up, unused_project  # noqa: E402 - after the path
from tests.support.load import Load  # noqa: E402
from tests.support.releases import PICTURE, Harbour, build_front, build_mode  # noqa: E402
from trimtab.errors import HealthError  # noqa: E402

_PER_SECOND = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """How one way went."""

    way: str
    requests: int
    failed: int
    failures: dict[str, int]
    p99_ms: float
    longest_ms: float
    release_s: float
    served_after: str


def measure(way: str, harbour: Harbour, act: Callable[[], object], *, seconds: float) -> Measurement:
    """Put a service under load, do something a sixth of the time in, and count."""
    load = Load(harbour.address, post="/v1/detect", picture=PICTURE * 2000, per_second=_PER_SECOND)
    began_s = time.monotonic()
    with load:
        time.sleep(seconds / 6)
        started_s = time.monotonic()
        with suppress(HealthError):  # two of the ways are refused: that is what is tried
            act()
        took_s = time.monotonic() - started_s
        time.sleep(max(0.0, seconds - (time.monotonic() - began_s)))
    latencies_s = sorted(load.latencies_s)
    return Measurement(
        way=way,
        requests=load.requests,
        failed=load.failed,
        failures=dict(load.failures),
        p99_ms=round(1000 * latencies_s[int(0.99 * len(latencies_s))], 1),
        longest_ms=round(1000 * latencies_s[-1], 1),
        release_s=round(took_s, 1),
        served_after=harbour.served(),
    )


def replace_in_place(harbour: Harbour, mode: str) -> None:
    """Do what `docker compose up` does for another image: end the container, start the new one on its port."""
    name = f"{harbour.project}-in-place"
    for container in harbour.engine.containers.list(filters={"name": name}):
        container.stop()
        container.remove()
    harbour.engine.containers.run(
        harbour.images[mode],
        name=name,
        detach=True,
        ports={"8000/tcp": ("127.0.0.1", harbour.port)},
        environment={"PORT": "8000"},
        labels={"org.trimtab.project": harbour.project},
    )


def table(measured: list[Measurement]) -> str:
    """Return the measurements as a Markdown table."""
    head = "| release | requests | failed | p99 | longest | took | serves then |\n|---|---|---|---|---|---|---|\n"
    rows = (
        f"| {m.way} | {m.requests:,} | {m.failed} | {m.p99_ms:.0f} ms | {m.longest_ms:.0f} ms | {m.release_s:.1f} s"
        f" | {m.served_after} |\n"
        for m in measured
    )
    return head + "".join(rows)


def main() -> int:
    """Measure, and print a table or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    client = require_engine()
    measured: list[Measurement] = []
    with tidied_up(client, unused_project()) as project, tempfile.TemporaryDirectory() as folder:
        modes = ("good", "better", "starting", "wrong")
        images = {mode: build_mode(project, mode, Path(folder) / mode) for mode in modes}
        front = build_front(client, project)
        harbour = Harbour(
            engine=client, project=project, port=free_port(), folder=Path(folder), images=images, front_image=front
        )
        harbour.release("good")
        ways: dict[str, Callable[[], object]] = {
            "a good image": lambda: harbour.release("better"),
            "never healthy": lambda: harbour.release("starting"),
            "healthy, golden request wrong": lambda: harbour.release("wrong"),
            "rollback": lambda: harbour.release("good", withdraw=True),
        }
        for way, act in ways.items():
            measured.append(measure(way, harbour, act, seconds=options.seconds))
        usual = Harbour(
            engine=client, project=project, port=free_port(), folder=Path(folder), images=images, front_image=front
        )
        replace_in_place(usual, "good")
        usual.served()
        measured.append(
            measure(
                "the usual way: replaced on its port",
                usual,
                lambda: replace_in_place(usual, "better"),
                seconds=options.seconds,
            )
        )
    sys.stdout.write(json.dumps([asdict(m) for m in measured], indent=2) + "\n" if options.json else table(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
