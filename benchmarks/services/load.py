# ruff: noqa: INP001 - a script that is run by its path, not a package
"""Saturate a service with well-behaved clients and report what its callers see.

Every client keeps one connection and sends its next picture as soon as it has an answer; told 503, it waits as long as
Retry-After says and sends the same again. The run ends when so many requests have been answered with 200. Anything but
200 and 503 is an error, and so is a 503 that does not say when to come back. Starts each service of the catalogue as a
process of its own with its real models (`--service NAME` for one, `--address HOST:PORT` for one that runs already).

    python benchmarks/services/load.py [--requests 1000] [--clients 32] [--service NAME] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BOUNDARY = "the-boundary"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What the clients saw: answers by status, and of those with 200 the seconds from sending to the last byte."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    retry_after_missing: int = 0
    wall_s: float = 0.0

    def quantile_ms(self, share: float) -> float:
        """Return the latency that this share of the answers stayed within, by the nearest rank."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def errors(self) -> int:
        """How many answers were neither a result nor a proper 503."""
        return self.retry_after_missing + sum(n for status, n in self.statuses.items() if status not in (200, 503))


async def run(port: int, path: str, pictures: Sequence[bytes], *, requests: int, clients: int) -> Outcome:
    """Have the clients send these bodies in turn until so many requests were answered with 200."""
    outcome = Outcome()
    todo = iter(range(requests))
    began = time.perf_counter()
    await asyncio.gather(*(_client(port, path, pictures, todo, outcome) for _ in range(clients)))
    outcome.wall_s = time.perf_counter() - began
    return outcome


async def _client(port: int, path: str, pictures: Sequence[bytes], todo: Iterable[int], outcome: Outcome) -> None:
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for number in todo:
        status = 0
        while status != 200:
            connection = connection or await asyncio.open_connection("127.0.0.1", port)
            began = time.perf_counter()
            status, headers = await _post(*connection, path, pictures[number % len(pictures)])
            outcome.statuses[status] += 1
            if headers.get("connection") == "close":
                connection[1].close()
                connection = None
            if status == 200:
                outcome.seconds.append(time.perf_counter() - began)
            elif status == 503:
                outcome.retry_after_missing += "retry-after" not in headers
                await asyncio.sleep(float(headers.get("retry-after", 1)))
            else:
                break  # counted as the error that it is; the next request is sent
    if connection is not None:
        connection[1].close()


async def _post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes
) -> tuple[int, dict[str, str]]:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    else:
        await _read_chunks(reader)
    return int(status_line.split()[1]), headers


async def _read_chunks(reader: asyncio.StreamReader) -> None:
    size = -1
    while size != 0:
        size = int(await reader.readline(), 16)
        await reader.readexactly(size + 2)


def body_of(picture: bytes) -> bytes:
    """Return the multipart body of a picture."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="picture"\r\n\r\n'
    return head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


def main() -> None:
    """Measure, and print a table or a JSON document; exit with 1 when any request failed."""
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    import psutil

    from tests.support import serving

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1000, help="answers with 200 to wait for (default: 1000)")
    parser.add_argument("--clients", type=int, default=32, help="clients at once (default: 32)")
    parser.add_argument("--service", choices=serving.CATALOGUE.services, action="append", help="one; repeatable")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    models = serving.real_models()
    measured: dict[str, dict[str, Any]] = {}
    for name in options.service or serving.CATALOGUE.services:
        golden = serving.CATALOGUE.services[name].golden
        bodies = [body_of((ROOT / golden.picture).read_bytes())]
        with (
            tempfile.TemporaryDirectory() as scratch,
            serving.running_service(serving.manifest_path(name), models, Path(scratch)) as service,
        ):
            asyncio.run(run(service.port, golden.post, bodies, requests=50, clients=options.clients))
            before_s = psutil.Process(service.process.pid).cpu_times()
            outcome = asyncio.run(
                run(service.port, golden.post, bodies, requests=options.requests, clients=options.clients)
            )
            after_s = psutil.Process(service.process.pid).cpu_times()
            peak_bytes = service.peak_memory_bytes()
        measured[name] = {
            "route": golden.post,
            "answered_200": outcome.statuses[200],
            "answered_503": outcome.statuses[503],
            "errors": outcome.errors,
            "per_second": round(outcome.statuses[200] / outcome.wall_s, 1),
            **{f"p{share}_ms": round(outcome.quantile_ms(share / 100)) for share in (50, 95, 99)},
            "processor_ms_each": round(
                1000 * (after_s.user + after_s.system - before_s.user - before_s.system) / outcome.statuses[200], 1
            ),
            "peak_mib": round(peak_bytes / 2**20),
        }
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if options.json:
        sys.stdout.write(json.dumps({"machine": machine, "services": measured}, indent=2) + "\n")
    else:
        sys.stdout.write(f"{machine}; {options.clients} clients, {options.requests} answers each\n")
        for name, row in measured.items():
            sys.stdout.write(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()) + "\n")
    sys.exit(any(row["errors"] for row in measured.values()))


if __name__ == "__main__":
    main()
