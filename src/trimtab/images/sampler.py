"""The sampler: how much a build takes of the engine's file system at its peak, and what was being written then.

It watches from this process, ten times a second, and so outlives the build, however that ends. Reads counters only.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from trimtab.disk.meter import used_bytes

_PERIOD_S: Final = 0.1
_BEGINS: Final = re.compile(r"#(?P<number>\d+) (?P<name>\[(?!internal).+|exporting to image)")
_ENDS: Final = re.compile(r"#(?P<number>\d+) (DONE|CACHED|ERROR|CANCELED)")
_OPTIONS: Final = re.compile(r"--\w+=\S+\s+")  # of RUN and COPY: what is mounted says less than what is run
_SHOWN_CHARACTERS: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The most that was taken above the start, and the Dockerfile's steps that were under way at that moment."""

    size_bytes: int
    layers: tuple[str, ...]

    @property
    def layer(self) -> str:
        """What was being written, for a person."""
        return "; ".join(self.layers) or "nothing of the Dockerfile"


class Sampler:
    """Samples from `with` to its end; is told each line of buildx's plain progress as it comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._layers: dict[str, str] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="sampler", daemon=True)
        self._start_bytes = used_bytes((folder,))
        self._peak = Peak(size_bytes=0, layers=())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    @property
    def peak(self) -> Peak:
        """The highest sample until now."""
        return self._peak

    def hear(self, line: str) -> str | None:
        """Take a line of progress; return the step's name when one begins."""
        with self._lock:
            if (ends := _ENDS.match(line)) is not None:
                self._layers.pop(ends["number"], None)
            elif (begins := _BEGINS.match(line)) is not None:
                self._layers[begins["number"]] = _OPTIONS.sub("", begins["name"])[:_SHOWN_CHARACTERS]
                return self._layers[begins["number"]]
        return None

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(_PERIOD_S):
            self._sample()

    def _sample(self) -> None:
        taken = used_bytes((self._folder,)) - self._start_bytes
        with self._lock:
            if taken > self._peak.size_bytes:
                self._peak = Peak(size_bytes=taken, layers=tuple(self._layers.values()) or self._peak.layers)
