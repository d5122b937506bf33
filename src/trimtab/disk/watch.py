"""The watch: what is free, how fast it goes, where, and when the disk will be full. Reads counters and folders.

What a disk has is asked at every tick. Folders are scanned in turn, for at most half of the time, so a large one is
seen less often; of the engine's layers only those that can grow are: new ones, and those of running containers.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trimtab.disk.folders import folder_bytes
from trimtab.units import MIB, format_duration, format_size

_SCANNING_SHARE: Final = 0.5
_RATE_OVER_S: Final = 10.0
_NOTABLE_BYTES: Final = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What one folder, or one layer of the engine's, gained since the watch began, and how fast it grows now."""

    what: str
    gained_bytes: int
    bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What the disk is like at one moment; `full_in_s` is None while it does not fill up."""

    at_s: float
    free_bytes: int
    used_bytes: int
    bytes_per_s: float
    full_in_s: float | None
    grows: tuple[Growth, ...]

    def as_data(self) -> dict[str, Any]:
        return {
            "at_s": round(self.at_s, 3),
            "free_bytes": self.free_bytes,
            "used_bytes": self.used_bytes,
            "bytes_per_s": round(self.bytes_per_s),
            "full_in_s": None if self.full_in_s is None else round(self.full_in_s, 1),
            "grows": [
                {"what": grown.what, "gained_bytes": grown.gained_bytes, "bytes_per_s": round(grown.bytes_per_s)}
                for grown in self.grows
            ],
        }


@dataclass(slots=True)
class _Seen:
    """A folder that is watched: what it took at first, at last, and at the look before that."""

    folder: Path
    first_bytes: int | None = None
    looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=2))


class Watch:
    """Watches the disk that `place` lies on, some folders, and the layers of an engine's overlay2.

    `layer_names` names the layers that containers write to (folder of overlay2 -> name); it is asked when a layer
    appears, and at the start.
    """

    def __init__(
        self,
        place: Path,
        folders: Mapping[str, Path],
        *,
        layers: Path | None = None,
        layer_names: Callable[[], Mapping[str, str]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place, self._layers, self._layer_names, self._clock = place, layers, layer_names, clock
        self._started_s = clock()
        self._seen = {name: _Seen(folder) for name, folder in folders.items()}
        self._known_layers = set(self._layer_folders())
        self._names: dict[str, str] = {}
        self._used: deque[tuple[float, int]] = deque()
        self._turns: Iterator[str] = iter(())
        self._first: tuple[int, int] | None = None
        self._name_layers()

    def tick(self, period_s: float) -> Tick:
        """Look once: at the disk, and at as many folders as half of the period leaves time for."""
        self._watch_new_layers()
        self._scan(period_s * _SCANNING_SHARE)
        at_s = self._clock() - self._started_s
        status = os.statvfs(self._place)
        free, used = status.f_bavail * status.f_frsize, (status.f_blocks - status.f_bfree) * status.f_frsize
        self._first = self._first or (free, used)
        self._used.append((at_s, used))
        while len(self._used) > 2 and at_s - self._used[0][0] > _RATE_OVER_S:
            self._used.popleft()
        rate = _rate(self._used[0], self._used[-1])
        return Tick(
            at_s=at_s,
            free_bytes=free,
            used_bytes=used,
            bytes_per_s=rate,
            full_in_s=free / rate if rate > 0 else None,
            grows=self._growths(),
        )

    @property
    def gained_bytes(self) -> int:
        """What the disk's use has grown by since the first tick."""
        return self._used[-1][1] - self._first[1] if self._first and self._used else 0

    def _growths(self) -> tuple[Growth, ...]:
        found = []
        for name, seen in self._seen.items():
            if seen.first_bytes is None or not seen.looks:
                continue
            gained = seen.looks[-1][1] - seen.first_bytes
            rate = _rate(seen.looks[0], seen.looks[-1])
            if abs(gained) >= _NOTABLE_BYTES:
                found.append(Growth(what=self._names.get(name, name), gained_bytes=gained, bytes_per_s=rate))
        return tuple(sorted(found, key=lambda grown: (-grown.bytes_per_s, -grown.gained_bytes)))

    def _scan(self, budget_s: float) -> None:
        began = self._clock()
        for _ in range(len(self._seen)):
            name = next(self._turns, None)
            if name is None:
                self._turns = iter(tuple(self._seen))
                name = next(self._turns)
            seen = self._seen[name]
            size = folder_bytes(seen.folder)
            seen.first_bytes = size if seen.first_bytes is None else seen.first_bytes
            seen.looks.append((self._clock() - self._started_s, size))
            if self._clock() - began > budget_s:
                return

    def _layer_folders(self) -> tuple[str, ...]:
        try:
            names = [folder.name for folder in self._layers.iterdir()] if self._layers is not None else []
        except OSError:  # it is root's
            return ()
        return tuple(name for name in names if name != "l")

    def _watch_new_layers(self) -> None:
        new = set(self._layer_folders()) - self._known_layers
        if new:
            self._known_layers |= new
            self._name_layers()
            for name in new:
                self._watch_layer(name, first_bytes=0)

    def _name_layers(self) -> None:
        for folder, container in self._layer_names().items():
            self._names[f"layer {folder}"] = f"container {container}"
            self._watch_layer(folder, first_bytes=None)

    def _watch_layer(self, folder: str, *, first_bytes: int | None) -> None:
        if self._layers is not None:
            key = f"layer {folder}"
            self._names.setdefault(key, f"layer {folder[:12]}")
            self._seen.setdefault(key, _Seen(self._layers / folder / "diff", first_bytes=first_bytes))


def tick_line(tick: Tick) -> str:
    """Return a tick as one line for a person."""
    if tick.full_in_s is not None:
        trend = f"+{format_size(tick.bytes_per_s)}/s, full in {format_duration(tick.full_in_s)}"
    elif tick.bytes_per_s < 0:
        trend = f"{format_size(tick.bytes_per_s)}/s"
    else:
        trend = "steady"
    grows = "; ".join(
        f"{grown.what} {'+' if grown.gained_bytes >= 0 else ''}{format_size(grown.gained_bytes)}"
        f" ({format_size(grown.bytes_per_s)}/s)"
        for grown in tick.grows[:4]
    )
    return f"{format_size(tick.free_bytes)} free, {trend}" + (f"   {grows}" if grows else "")


def _rate(first: tuple[float, int], last: tuple[float, int]) -> float:
    seconds = last[0] - first[0]
    return (last[1] - first[1]) / seconds if seconds > 0 else 0.0
