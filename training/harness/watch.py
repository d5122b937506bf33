"""Watches what a job uses while it runs: samples in a thread, one warning in time, a record and a chart of it.

RESULTS/RUN_DIRECTORY/watch.json, watch.svg     of every attempt so far; they hold times, so no two are alike
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from training.harness.watch_chart import draw
from trimtab.storage.durable import write_whole
from trimtab.units import format_size

if TYPE_CHECKING:
    from pathlib import Path

    from training.harness.gauges import Gauge, Reading

EVERY_S: Final = 2.0
WARN_AT: Final = 0.9
FORMAT: Final = "trimtab-watch/1"
_MOST_SAMPLES: Final = 240  # of an attempt; beyond that two become one, the greater, and they come half as often
_MOST_ATTEMPTS: Final = 20
_KEYS: Final = {
    "memory": ("workers", "prefetch", "cache", "batch"),
    "gpu": ("batch",),
    "disk": ("keep_last", "keep_best", "keep_every", "cache"),
}
_OTHERWISE: Final = {
    "memory": "a machine with more memory (`python -m deploy.modal.resources --profiles` lists them)",
    "gpu": "a GPU with more memory (`python -m deploy.modal.resources --gpus` lists them, each with its batch)",
    "disk": "more room there (`trimtab checkpoints prune` removes what nothing keeps)",
}


@dataclass(slots=True, kw_only=True)
class Samples:
    """One attempt's samples, thinned out as they grow: peaks stay."""

    started: str
    every_s: float
    seconds: list[float] = field(default_factory=list)
    used_bytes: dict[str, list[int | None]] = field(default_factory=dict)
    limit_bytes: dict[str, int | None] = field(default_factory=dict)
    peak_bytes: dict[str, int] = field(default_factory=dict)
    most_bytes: dict[str, int] = field(default_factory=dict)
    """Since the last sample."""

    def add(self, at_s: float, readings: Mapping[str, Reading | None]) -> None:
        """Take a reading of each gauge. It becomes a sample, with those before it, when it is time for one."""
        for name, reading in readings.items():
            self.used_bytes.setdefault(name, [None] * len(self.seconds))
            if reading is not None:
                self.limit_bytes[name] = reading.limit_bytes
                self.peak_bytes[name] = max(self.peak_bytes.get(name, 0), reading.used_bytes)
                self.most_bytes[name] = max(self.most_bytes.get(name, 0), reading.used_bytes)
        if self.seconds and at_s < self.seconds[-1] + 0.99 * self.every_s:
            return
        for name, column in self.used_bytes.items():
            column.append(self.most_bytes.get(name))
        self.most_bytes.clear()
        self.seconds.append(round(at_s, 1))
        if len(self.seconds) >= _MOST_SAMPLES:
            self._thin_out()

    def _thin_out(self) -> None:
        self.every_s *= 2
        self.seconds = self.seconds[1::2]
        for name, column in self.used_bytes.items():
            pairs = zip(column[::2], column[1::2], strict=False)
            self.used_bytes[name] = [max((one for one in pair if one is not None), default=None) for pair in pairs]

    def as_json(self) -> dict[str, Any]:
        """Return them as they stand in the file."""
        return {
            "started": self.started,
            "every_s": self.every_s,
            "limit_bytes": self.limit_bytes,
            "peak_bytes": self.peak_bytes,
            "seconds": self.seconds,
            "used_bytes": {name: column for name, column in self.used_bytes.items() if any(column)},
        }


class Watch:
    """Samples gauges in a thread from `with` to its end. Warns once of each that is nearly at its limit."""

    def __init__(
        self,
        gauges: Mapping[str, Gauge],
        config: Mapping[str, Any],
        say: Callable[[str], None],
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._gauges, self._config, self._say = gauges, config, say
        self._every_s = every_s
        self._latest: Mapping[str, Reading | None] = {}
        self._began_s = time.monotonic()
        self._samples = Samples(started=datetime.now(UTC).isoformat(timespec="seconds"), every_s=every_s)
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._before: list[dict[str, Any]] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def peaks(self) -> Mapping[str, int]:
        """Return the most that was used so far, in bytes by gauge; of the disk what was written to it."""
        with self._lock:
            return dict(self._samples.peak_bytes)

    @property
    def line(self) -> str:
        """Return what is used now, for the line of progress."""
        found = {name: reading for name in ("memory", "gpu") if (reading := self._latest.get(name))}
        return ", ".join(
            f"{name} {format_size(reading.used_bytes)}"
            + (f" of {format_size(reading.limit_bytes)}" if reading.limit_bytes else "")
            for name, reading in found.items()
        )

    def sample(self) -> None:
        """Read every gauge once, and warn of what is nearly at its limit."""
        self._latest = readings = {name: gauge() for name, gauge in self._gauges.items()}
        with self._lock:
            self._samples.add(time.monotonic() - self._began_s, readings)
            full = {
                name: reading
                for name, reading in readings.items()
                if reading is not None and name not in self._warned and _is_nearly_full(reading)
            }
            self._warned |= full.keys()
        for name, reading in full.items():
            self._say(warning(name, reading, self._config))

    def write(self, directory: Path) -> None:
        """Write the record and the chart into a run's directory, after those of the attempts before."""
        if self._before is None:
            self._before = _attempts_in(directory / "watch.json")[1 - _MOST_ATTEMPTS :]
        self.sample()
        with self._lock:
            attempts = [*self._before, self._samples.as_json()]
            content = json.dumps({"format": FORMAT, "attempts": attempts}, separators=(",", ":"))
        write_whole(directory / "watch.json", content.encode() + b"\n")
        write_whole(directory / "watch.svg", draw(attempts).encode())

    def _run(self) -> None:
        while True:
            self.sample()
            if self._ended.wait(self._every_s):
                return


def warning(name: str, reading: Reading, config: Mapping[str, Any]) -> str:
    """Return the warning that a gauge is nearly at its limit, with the keys of the configuration that would help."""
    limit_bytes = reading.limit_bytes or 1
    what = {"memory": "memory", "gpu": "the GPU's memory", "disk": "the disk"}.get(name, name)
    keys = [f"{key} ({value})" for key, value in _keys(config, ()) if _concerns(key, name)]
    lower = f"lower {' or '.join(keys)}, or take " if keys else "take "
    cause = {
        "memory": "the system kills a job that takes more than its limit",
        "gpu": "a tensor that does not fit ends the job",
        "disk": "this is what was free when the attempt began; a full disk ends the job",
    }.get(name, "it ends there")
    return (
        f"warning: {what} is {reading.used_bytes / limit_bytes:.0%} full: "
        f"{format_size(reading.used_bytes)} of {format_size(limit_bytes)}"
        f"\n  why: {cause}\n  next: {lower}{_OTHERWISE.get(name, 'less of it')}"
    )


def _is_nearly_full(reading: Reading) -> bool:
    return bool(reading.limit_bytes and reading.used_bytes >= WARN_AT * reading.limit_bytes)


def _keys(config: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _keys(value, (*path, key))
        elif value and not isinstance(value, bool | str):
            yield ".".join((*path, key)), value


def _concerns(key: str, gauge: str) -> bool:
    return any(word in key.rpartition(".")[2] for word in _KEYS.get(gauge, ()))


def _attempts_in(path: Path) -> list[dict[str, Any]]:
    """Return the attempts of a file that an earlier one wrote; one that cannot be read is begun anew."""
    try:
        content = json.loads(path.read_bytes())
        attempts = content["attempts"] if content["format"] == FORMAT else []
        return [attempt for attempt in attempts if attempt["seconds"] and attempt["used_bytes"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
