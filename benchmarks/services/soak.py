# ruff: noqa: INP001 - a script that is run by its path, not a package
"""Ask every service for minutes on end, slowly, and report how much memory it holds from minute to minute.

Each service of the catalogue runs as a process of its own with its real models, with the memory settings of the image.
It gets pictures of many sizes and formats, what is refused among them, at a low rate beside whatever else the machine
does. Its resident memory is read once a second. Flat means: the median of the last minute is not above that of the
third by more than `--allow` MiB (the first two fill caches); otherwise the exit code is 1.

    python benchmarks/services/soak.py [--minutes 10] [--rate 2] [--allow 8] [--json]
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import platform
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SETTLED_MINUTE = 3


def mixed_pictures(photographs: list[bytes]) -> list[bytes]:
    """Return real photographs in several sizes and formats, and three files that are refused."""
    from PIL import Image

    made = []
    for content, (edge, kind) in itertools.product(
        photographs, ((320, "PNG"), (900, "JPEG"), (1800, "WEBP"), (3000, "JPEG"), (640, "BMP"))
    ):
        image = Image.open(io.BytesIO(content)).convert("RGB")
        buffer = io.BytesIO()
        image.resize((edge, edge * image.height // image.width)).save(buffer, kind)
        made.append(buffer.getvalue())
    large = io.BytesIO()
    Image.new("1", (9000, 9000)).save(large, "PNG")
    return [*made, b"not a picture", made[1][:2000], large.getvalue()]


def main() -> None:
    """Measure, and print a table or a JSON document; exit with 1 when the memory of one grew."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    from tests.support import serving

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=10, help="how long (default: 10)")
    parser.add_argument("--rate", type=float, default=2.0, help="pictures a second for each service (default: 2)")
    parser.add_argument("--allow", type=float, default=8.0, help="MiB that it may hold more (default: 8)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if options.minutes <= SETTLED_MINUTE:
        parser.error(f"--minutes must be more than {SETTLED_MINUTE}")
    pictures = mixed_pictures([serving.photograph(name) for name in ("astronaut", "coffee", "chelsea")])
    models = serving.real_models()
    with ExitStack() as running:
        scratch = Path(running.enter_context(tempfile.TemporaryDirectory()))
        soaks = [
            Soak(
                name=name,
                service=running.enter_context(serving.running_service(serving.manifest_path(name), models, scratch)),
                route=serving.CATALOGUE.services[name].golden.post,
            )
            for name in serving.CATALOGUE.services
        ]
        threads = [
            threading.Thread(target=soak.run, args=(pictures, 60 * options.minutes, options.rate)) for soak in soaks
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = {soak.name: soak.row() for soak in soaks}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if options.json:
        sys.stdout.write(json.dumps({"machine": machine, "rate": options.rate, "services": rows}, indent=2) + "\n")
    else:
        sys.stdout.write(f"{machine}; {options.minutes} minutes, {options.rate:g} pictures a second each\n")
        for name, row in rows.items():
            sys.stdout.write(f"{name}: {row}\n")
    sys.exit(any(row["grown_mib"] > options.allow or row["unexpected"] for row in rows.values()))


class Soak:
    """One service under a slow, steady load, and its memory."""

    def __init__(self, *, name: str, service: Any, route: str) -> None:
        self.name = name
        self._service = service
        self._route = route
        self._mib_by_minute: dict[int, list[float]] = {}
        self._statuses: dict[int, int] = {}

    def run(self, pictures: list[bytes], seconds: float, rate: float) -> None:
        """Send one picture after another until the time is up."""
        began = time.monotonic()
        sampled = 0.0
        for number, picture in enumerate(itertools.cycle(pictures)):
            due = began + number / rate
            if due - began >= seconds:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            status = self._service.post(self._route, picture).status
            self._statuses[status] = self._statuses.get(status, 0) + 1
            if time.monotonic() - sampled >= 1:
                sampled = time.monotonic()
                minute = int((sampled - began) // 60) + 1
                self._mib_by_minute.setdefault(minute, []).append(self._resident_mib())

    def row(self) -> dict[str, Any]:
        """Return the result."""
        by_minute = [round(median(samples), 1) for _, samples in sorted(self._mib_by_minute.items())]
        return {
            "route": self._route,
            "statuses": dict(sorted(self._statuses.items())),
            "unexpected": sum(n for status, n in self._statuses.items() if status not in (200, 413, 415, 422)),
            "mib_by_minute": by_minute,
            "grown_mib": round(by_minute[-1] - by_minute[SETTLED_MINUTE - 1], 1),
        }

    def _resident_mib(self) -> float:
        status = Path(f"/proc/{self._service.process.pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
