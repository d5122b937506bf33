"""What a job uses of what it has: memory, the GPU's memory, the disk. Reads the system's own files; changes nothing.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html and proc(5). What cannot be read here is left out.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How much is used, and how much there is; None: nothing says so."""

    used_bytes: int
    limit_bytes: int | None


Gauge = Callable[[], Reading | None]
"""Reads once. None: there is nothing of this kind here (yet)."""


def gauges_of(results: Path) -> Mapping[str, Gauge]:
    """Return every gauge of a job that writes to these results, by name."""
    return {"memory": memory, "process": process_memory, "gpu": gpu_memory, "disk": _disk_from_now(results)}


def memory() -> Reading | None:
    """Return what the control group with the least room uses of its limit: everything in this container.

    Where no group has a limit, what this process uses of the machine. The cache of inactive files is not counted, which
    the kernel gives back before it kills.
    """
    machine_bytes = _machine_bytes()
    limited = [group for group in _groups() if machine_bytes is None or (group.limit_bytes or 0) <= machine_bytes]
    if limited:
        return min(limited, key=lambda group: (group.limit_bytes or 0) - group.used_bytes)
    process = process_memory()
    return process and Reading(used_bytes=process.used_bytes, limit_bytes=machine_bytes)


def process_memory() -> Reading | None:
    """Return this process's resident memory."""
    try:
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return Reading(used_bytes=resident_pages * os.sysconf("SC_PAGESIZE"), limit_bytes=None)


def gpu_memory() -> Reading | None:
    """Return the most that torch's tensors took on the fullest GPU so far: its cache above that is given back.

    Looks only once the job itself uses a GPU: it makes no context of its own.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    found = [
        Reading(
            used_bytes=torch.cuda.max_memory_allocated(index),
            limit_bytes=torch.cuda.get_device_properties(index).total_memory,
        )
        for index in range(torch.cuda.device_count())
    ]
    return max(found, key=lambda reading: reading.used_bytes / (reading.limit_bytes or 1), default=None)


def _disk_from_now(results: Path) -> Gauge:
    """Return a gauge of how much was written since now of what was free now, whoever wrote it.

    Not of the whole disk: a disk that is nearly full and stays so is nobody's trouble.
    """
    place = next(path for path in (results, *results.absolute().parents) if path.exists())
    began_bytes = shutil.disk_usage(place).free

    def disk() -> Reading | None:
        try:
            used_bytes = max(0, began_bytes - shutil.disk_usage(place).free)
        except OSError:
            return None
        # Some network volumes have no size to tell.
        return Reading(used_bytes=used_bytes, limit_bytes=began_bytes) if began_bytes else None

    return disk


def _groups() -> Iterator[Reading]:
    """Yield the memory of each control group that we are in and that has a limit, version 2 and 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            folder, names = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            folder = _CGROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        here = folder / path.lstrip("/")
        for group in (here, *(parent for parent in here.parents if parent.is_relative_to(folder))):
            reading = _group(group, *names)
            if reading is not None:
                yield reading


def _group(group: Path, limit: str, usage: str, cache: str) -> Reading | None:
    try:
        limit_bytes = int((group / limit).read_text())  # `max`, where there is none
        used_bytes = int((group / usage).read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used_bytes -= int(statistics.get(cache, 0))
    except (OSError, ValueError):
        return None
    return Reading(used_bytes=max(0, used_bytes), limit_bytes=limit_bytes)


def _machine_bytes() -> int | None:
    try:
        first = Path("/proc/meminfo").read_text().split("\n", 1)[0]
        return int(first.split()[1]) * _KIB
    except (OSError, ValueError, IndexError):
        return None
