"""One recording's file in the cache: the continuous signal from byte 0 on, then what it is, then a mark of its end.

    samples x 19 numbers (time first: a slice of time is one piece) | JSON | length of the JSON, 8 bytes | mark, 8 bytes

The end is written last and the name given after it, so a file is whole or not there; one that was cut or whose tail
never reached the disk has no mark. A recording that cannot be used has such a file, too, without signal: it says why,
and is not tried again. Touches the paths that it is given.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from training.eeg.edf import read_header
from training.eeg.montage import CHANNELS
from training.eeg.notes import Note, Rule, UnusableError, parse_note
from training.eeg.preprocessing import Prepared, make_plan
from training.eeg.sections import Signal
from training.eeg.whole_file import whole_file

SUFFIX: Final = ".eeg"
SYNTHETIC: Final = "SYNTHETIC"  # a word of the patient's field: nobody's brain
_MARK: Final = b"EEGWHOLE"
_TAIL: Final = struct.Struct("<Q8s")
_MAX_FACTS_BYTES: Final = 1024**2
_RETRIED: Final = frozenset({Rule.UNREADABLE})
_DRAINED_AT_ONCE: Final = 4 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a recording's file says of itself. `skipped` is None where it has signal."""

    path: str
    source_bytes: int
    source_sha256: str
    synthetic: bool
    signal_key: str
    storage: str
    samples: int
    signal_sha256: str
    present: tuple[bool, ...]
    notes: tuple[Note, ...]
    skipped: Note | None

    def is_final_for(self, source_bytes: int) -> bool:
        """Tell whether it need not be made again; what could not be read is tried again, and so is what has changed."""
        is_final = self.skipped is None or self.skipped.rule not in _RETRIED
        return self.source_bytes == source_bytes and is_final

    def as_json(self) -> dict[str, Any]:
        """Return the facts as they stand in the file."""
        return {
            "path": self.path,
            "source_bytes": self.source_bytes,
            "source_sha256": self.source_sha256,
            "synthetic": self.synthetic,
            "signal_key": self.signal_key,
            "storage": self.storage,
            "samples": self.samples,
            "signal_sha256": self.signal_sha256,
            "present": list(self.present),
            "notes": [note.as_json() for note in self.notes],
            "skipped": None if self.skipped is None else self.skipped.as_json(),
        }


def parse_facts(raw: dict[str, Any]) -> Facts:
    """Return the facts that `as_json` gave. Raises KeyError, TypeError or ValueError where they are none."""
    skipped = raw["skipped"]
    return Facts(
        path=str(raw["path"]),
        source_bytes=int(raw["source_bytes"]),
        source_sha256=str(raw["source_sha256"]),
        synthetic=bool(raw["synthetic"]),
        signal_key=str(raw["signal_key"]),
        storage=str(raw["storage"]),
        samples=int(raw["samples"]),
        signal_sha256=str(raw["signal_sha256"]),
        present=tuple(bool(one) for one in raw["present"]),
        notes=tuple(parse_note(note) for note in raw["notes"]),
        skipped=None if skipped is None else parse_note(skipped),
    )


def build_file(source: Path, path: str, target: Path, how: Signal, signal_key: str) -> Facts:
    """Make one recording's file of its EDF, whole or not at all; any number of builders may do so at once.

    `path` names the recording within the corpus. A recording that cannot be used gets a file that says why. Raises
    BudgetError when the disk is full, ProgramError when the cache cannot be written.
    """
    with whole_file(target) as stream:
        return _write(stream, source, path, how, signal_key)


def read_facts(path: Path) -> Facts | None:
    """Return what a file says of itself, or None where there is none, or no whole one. Reads its end only."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(0, size - _TAIL.size))
            tail = stream.read()
            if len(tail) != _TAIL.size:
                return None
            length, mark = _TAIL.unpack(tail)
            if mark != _MARK or not 0 < length <= min(_MAX_FACTS_BYTES, size - _TAIL.size):
                return None
            stream.seek(size - _TAIL.size - length)
            facts = parse_facts(json.loads(stream.read(length)))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError):
        return None
    try:
        expected = facts.samples * len(CHANNELS) * np.dtype(facts.storage).itemsize
    except TypeError:
        return None
    return facts if size == expected + length + _TAIL.size else None


def is_undamaged(path: Path, facts: Facts) -> bool:
    """Read the whole signal and tell whether it is what was written."""
    left = facts.samples * len(CHANNELS) * np.dtype(facts.storage).itemsize
    seen = hashlib.sha256()
    with path.open("rb") as stream:
        while left and (piece := stream.read(min(left, _DRAINED_AT_ONCE))):
            seen.update(piece)
            left -= len(piece)
    return not left and seen.hexdigest() == facts.signal_sha256


class MappedSignal:
    """A recording's signal, mapped: a slice costs what it reads, and leaves nothing behind in this process's memory.

    Unmapped when nobody refers to it any more: another thread may be reading while it is put away.
    """

    def __init__(self, path: Path, samples: int, storage: str) -> None:
        size = samples * len(CHANNELS) * np.dtype(storage).itemsize
        with path.open("rb") as stream:
            self._map = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ)
        self._signal = np.frombuffer(self._map, storage).reshape(samples, len(CHANNELS))

    def copy(self, start: int, stop: int, scale: float, out: NDArray[np.float32]) -> None:
        """Put samples start..stop times a scale into `out`: (19, stop - start)."""
        np.multiply(self._signal[start:stop].T, np.float32(scale), out=out, dtype=np.float32, casting="unsafe")
        # All of it, not the slice: a fault maps what lies around it, too. The pages stay in the system's cache.
        self._map.madvise(mmap.MADV_DONTNEED)


class _Hashed:
    """A source of which everything that is read is hashed; what the system refuses to read is a rule's business."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seen = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        try:
            content = self._stream.read(size)
        except OSError as error:
            raise UnusableError(Rule.UNREADABLE, error.strerror or str(error)) from error
        self.seen.update(content)
        return content


def _write(stream: BinaryIO, source: Path, path: str, how: Signal, signal_key: str) -> Facts:
    """Write signal, facts and mark to an open file."""
    signal_sha256, samples, present = hashlib.sha256(), 0, (False,) * len(CHANNELS)
    notes: tuple[Note, ...] = ()
    skipped: Note | None = None
    source_bytes, source_sha256, synthetic = -1, "", False
    try:
        with _opened(source) as opened:
            source_bytes = os.fstat(opened.fileno()).st_size
            reader = _Hashed(opened)
            header = read_header(reader, source_bytes)
            with Prepared(make_plan(header, how), reader) as prepared:
                for block in prepared.stored():
                    piece = block.data.cast("B")
                    stream.write(piece)
                    signal_sha256.update(piece)
            while reader.read(_DRAINED_AT_ONCE):
                pass  # what lies after the last whole record is part of the file, too
            source_sha256 = reader.seen.hexdigest()
            synthetic = SYNTHETIC in header.patient.split()
            samples, present = prepared.samples, tuple(bool(one) for one in prepared.present)
            notes = tuple(Note(path=path, rule=rule, detail=detail) for rule, detail in prepared.odd)
    except UnusableError as error:
        stream.truncate(0)
        stream.seek(0)
        signal_sha256 = hashlib.sha256()
        skipped = Note(path=path, rule=error.rule, detail=error.detail)
    facts = Facts(
        path=path,
        source_bytes=source_bytes,
        source_sha256=source_sha256,
        synthetic=synthetic,
        signal_key=signal_key,
        storage=how.storage,
        samples=samples,
        signal_sha256=signal_sha256.hexdigest(),
        present=present,
        notes=notes,
        skipped=skipped,
    )
    content = json.dumps(facts.as_json(), sort_keys=True).encode()
    stream.write(content + _TAIL.pack(len(content), _MARK))
    return facts


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    try:
        stream = source.open("rb", buffering=0)
    except OSError as error:
        raise UnusableError(Rule.UNREADABLE, error.strerror or str(error)) from error
    with stream:
        yield stream
