# ruff: noqa: INP001 - a script that is run by its path, not a package
"""Measure how long a command line takes to answer, as whole processes, side by side with others run the same way.

Every command runs once to warm the caches, then they take turns, so that what else the machine does falls on all of
them alike. Reported: the median wall time, the median processor time, and the wall time as a multiple of an empty
Python's. Starts the commands that it names, from the project's root, and nothing else.

    python benchmarks/cli/startup.py [--runs 21] [--rival 'COMMAND WORDS'] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

_ROOT = Path(__file__).resolve().parents[2]
_BIN = Path(sys.executable).parent
_BASE = "python -c pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one command took, in milliseconds, over the runs that counted."""

    command: str
    runs: int
    wall_ms: float
    wall_ms_fastest: float
    cpu_ms: float
    times_python: float


def main() -> None:
    """Measure, and print a table or a JSON document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=21, help="runs of each command that count (default: 21)")
    parser.add_argument("--rival", action="append", default=[], help="another command to run beside them; repeatable")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    commands = [_BASE, "trimtab --help", "trimtab plan", *(options.rival or ["modal --help"])]
    measurements = measure(commands, options.runs)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if options.json:
        document = {"machine": machine, "commands": [asdict(one) for one in measurements]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(_table(machine, measurements))


def measure(commands: list[str], runs: int) -> list[Measurement]:
    """Return what each command took."""
    argvs = {command: _argv(command) for command in commands}
    for argv in argvs.values():
        _run(argv)
    taken: dict[str, list[tuple[float, float]]] = {command: [] for command in commands}
    for _ in range(runs):
        for command, argv in argvs.items():
            taken[command].append(_run(argv))
    base_ms = median(wall for wall, _ in taken[_BASE])
    return [
        Measurement(
            command=_shown(command),
            runs=runs,
            wall_ms=round(median(wall for wall, _ in times), 1),
            wall_ms_fastest=round(min(wall for wall, _ in times), 1),
            cpu_ms=round(median(cpu for _, cpu in times), 1),
            times_python=round(median(wall for wall, _ in times) / base_ms, 2),
        )
        for command, times in taken.items()
    ]


def _table(machine: str, measurements: list[Measurement]) -> str:
    lines = [
        f"{machine}; {measurements[0].runs} runs of each, in turns; medians",
        "",
        f"{'command':<28}{'wall':>10}{'fastest':>10}{'cpu':>10}{'x python':>10}",
    ]
    lines += [
        f"{one.command:<28}{one.wall_ms:>7.0f} ms{one.wall_ms_fastest:>7.0f} ms{one.cpu_ms:>7.0f} ms"
        f"{one.times_python:>10.1f}"
        for one in measurements
    ]
    return "\n".join(lines) + "\n"


def _argv(command: str) -> list[str]:
    """Return a command's words, the program found beside this Python first; exits when it is nowhere."""
    name, *words = shlex.split(command)
    program = shutil.which(name, path=f"{_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if program is None:
        sys.exit(f"startup: {name} is not here: it is neither beside {sys.executable} nor on PATH")
    return [program, *words]


def _shown(command: str) -> str:
    program, *words = shlex.split(command)
    return shlex.join([Path(program).name, *words])


def _run(argv: list[str]) -> tuple[float, float]:
    """Run one process to its end and return its wall and processor time in milliseconds; exits when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(argv, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"startup: {shlex.join(argv)} ended with {process.returncode}; nothing was measured")
    return wall_s * 1000, (usage.ru_utime + usage.ru_stime) * 1000


if __name__ == "__main__":
    main()
