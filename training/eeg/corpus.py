"""A populated cache as it is learnt from: recordings with their seizures, any slice of any of them in one mapped read.

Reads the cache only. `open_corpus` reads one JSON; a recording's file is mapped when it is first asked for, a bounded
number at a time, in whatever process or thread asks.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.eeg.annotations import Span
from training.eeg.cache import Cache
from training.eeg.index import SPLITS
from training.eeg.montage import CHANNELS
from training.eeg.recording_file import MappedSignal
from training.eeg.sections import CorpusChoice, Signal
from trimtab.errors import UsageError

FORMAT: Final = "eeg-corpus/1"
_MAPPED_AT_ONCE: Final = 128
_FULL_SCALE: Final = 32767
_MAPPING: Final = threading.Lock()  # threads read at once; who is mapped changes one at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recording: `samples` at the corpus' rate, seizures in seconds, which of CHANNELS were there."""

    path: str
    split: str
    patient: str
    session: str
    montage: str
    samples: int
    duration_s: float
    events: tuple[Span, ...]
    present: tuple[bool, ...]


class Corpus:
    """The recordings of a choice, in the order of their paths; an index into `recordings` names one everywhere."""

    def __init__(self, home: Path, raw: dict[str, Any]) -> None:
        self.home = home
        how = Signal.model_validate(raw["signal"])
        self._storage = how.storage
        self._scale = how.clip_sd / _FULL_SCALE if how.storage == "int16" else 1.0
        self.rate_hz = how.rate_hz
        self.sha256: str = raw["sha256"]
        self.synthetic: bool = raw["synthetic"]
        self.report: dict[str, Any] = raw["report"]
        self.recordings = tuple(_recording(one, self.rate_hz) for one in raw["recordings"])
        self._mapped: OrderedDict[int, MappedSignal] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Say what was skipped or mended, and what makes a measurement look too good."""
        return tuple(self.report["warnings"])

    def of_split(self, split: str) -> tuple[int, ...]:
        """Return the recordings of a split."""
        return tuple(index for index, one in enumerate(self.recordings) if one.split == split)

    def read(
        self, recording: int, start: int, stop: int, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return samples start..stop in standard deviations, (19, stop - start); zeros beyond either end.

        Raises UsageError where the recording's file is gone.
        """
        if out is None:
            out = np.empty((len(CHANNELS), stop - start), np.float32)
        first, last = max(start, 0), min(stop, self.recordings[recording].samples)
        if last <= first:
            out[:] = 0
            return out
        out[:, : first - start] = 0
        out[:, last - start :] = 0
        with _MAPPING:
            signal = self._signal(recording)
        signal.copy(first, last, self._scale, out[:, first - start : last - start])
        return out

    def mask(self, recording: int, start: int, stop: int, step: int = 1) -> NDArray[np.bool_]:
        """Return whether there is seizure at samples start, start + step, ... before stop; none beyond the ends."""
        samples = np.arange(start, stop, step)
        events = np.array(self.recordings[recording].events).reshape(-1, 2) * self.rate_hz
        before = np.searchsorted(events[:, 0], samples, side="right")
        over = np.searchsorted(events[:, 1], samples, side="right")
        return before > over

    def close(self) -> None:
        """Unmap everything; it is mapped again when it is asked for."""
        with self._lock:
            self._mapped.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind: another process makes its own."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_mapped", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin without maps."""
        self.__dict__.update(state, _mapped=OrderedDict(), _lock=threading.Lock())

    def _signal(self, recording: int) -> MappedSignal:
        with self._lock:
            signal = self._mapped.pop(recording, None) or self._map(recording)
            self._mapped[recording] = signal
            if len(self._mapped) > _MAPPED_AT_ONCE:
                self._mapped.popitem(last=False)  # unmapped once no thread reads it any more
            return signal

    def _map(self, recording: int) -> MappedSignal:
        one = self.recordings[recording]
        path = self.home / "recordings" / f"{one.path}.eeg"
        try:
            return MappedSignal(path, one.samples, self._storage)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{path} cannot be mapped",
                why=str(error),
                remedy="populate the cache again: what is there and whole is kept",
            ) from error


def open_corpus(cache: Path, signal: Signal, choice: CorpusChoice) -> Corpus:
    """Open a populated cache. Raises UsageError, saying how to populate it, where it is not."""
    place = Cache(cache, signal)
    path = place.corpus_file(choice)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Corpus(place.home, _checked(raw, place.key))
    except (OSError, KeyError, TypeError, ValueError) as error:
        why = "it was never finished" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise UsageError(
            f"{cache} holds no corpus for this configuration",
            why=f"{path}: {why}",
            remedy=f"python -m training.eeg.populate --data DIR --cache {cache} --config FILE; what is there is kept",
        ) from error


def _checked(raw: dict[str, Any], signal_key: str) -> dict[str, Any]:
    if (raw["format"], raw["signal_key"]) != (FORMAT, signal_key):
        raise ValueError(f"it is {raw['format']!r} with the key {raw['signal_key']!r}")
    return raw


def digest_of(recordings: list[dict[str, Any]], signal_key: str) -> str:
    """Return one digest over what is learnt from: the sources' content, their seizures, the way of preparing."""
    whole = hashlib.sha256(signal_key.encode())
    for one in recordings:
        whole.update(f"{one['path']}\0{one['source_sha256']}\0{one['events']}\n".encode())
    return whole.hexdigest()


def _recording(raw: dict[str, Any], rate_hz: int) -> Recording:
    split, patient, session, montage, _ = raw["path"].split("/")
    if split not in SPLITS:
        raise ValueError(f"{split!r} is no split")
    return Recording(
        path=raw["path"],
        split=split,
        patient=patient,
        session=session,
        montage=montage,
        samples=raw["samples"],
        duration_s=raw["samples"] / rate_hz,
        events=tuple((float(start), float(stop)) for start, stop in raw["events"]),
        present=tuple(raw["present"]),
    )
