"""The meter: samples used disk and the memory of our own processes while steps run, five times a second.

Reads file-system counters and /proc only. Used disk is summed over the distinct file systems that hold the watched
folders, so a neighbour that writes at the same time is seen too: the price of seeing what the engine writes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psutil

from trimtab.plan import Cost

_PERIOD_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Sample:
    """Used disk, together and where each folder lies, and memory at one moment (`at_s` is monotonic time)."""

    at_s: float
    used_bytes: int
    memory_bytes: int
    used_by_folder: Mapping[Path, int]


def used_bytes(folders: tuple[Path, ...]) -> int:
    """Return the bytes in use on the file systems that hold these folders, each counted once."""
    seen: dict[int, int] = {}
    for folder in folders:
        place = nearest_existing(folder)
        stat = os.statvfs(place)
        seen[place.stat().st_dev] = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    return sum(seen.values())


def nearest_existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists: where it lies, or would lie."""
    while not folder.exists():
        folder = folder.parent
    return folder


def free_bytes(folder: Path) -> int:
    """Return what an ordinary process can still write where a folder lies, or would lie."""
    stat = os.statvfs(nearest_existing(folder))
    return stat.f_bavail * stat.f_frsize


class Meter:
    """Samples in the background from `with` to its end; `cost_since` turns a stretch of it into a measured Cost."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self._folders = folders
        self._process = psutil.Process()
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="meter", daemon=True)

    def __enter__(self) -> Self:
        self.sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self._samples)

    def sample(self) -> Sample:
        """Take one sample now."""
        by_folder = {folder: used_bytes((folder,)) for folder in self._folders}
        sample = Sample(time.monotonic(), used_bytes(self._folders), self._memory_bytes(), by_folder)
        self._samples.append(sample)
        return sample

    def cost_since(self, start: Sample, folder: Path | None = None) -> Cost:
        """Return what was taken from a sample until now: everywhere, or where one of the folders lies."""

        def used(sample: Sample) -> int:
            return sample.used_bytes if folder is None else sample.used_by_folder[folder]

        end = self.sample()
        stretch = [sample for sample in self._samples if start.at_s <= sample.at_s <= end.at_s]
        return Cost(
            peak_bytes=max(0, *(used(sample) - used(start) for sample in stretch)),
            kept_bytes=max(0, used(end) - used(start)),
            memory_bytes=max(sample.memory_bytes for sample in stretch),
            wall_s=end.at_s - start.at_s,
        )

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self.sample()

    def _memory_bytes(self) -> int:
        """Return the resident bytes of this process and of all that it started."""
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:  # it ended between the listing and the look
                continue
        return total
