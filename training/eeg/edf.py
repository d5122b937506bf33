"""EDF and EDF+C, read forwards only, in bounded memory, from files that may come from a stranger. Reads one stream.

A reader of our own, because a corpus is worth more than its worst header: what can be mended by rule is mended and
noted, what cannot is refused by name, and no number in a header makes us allocate what the file does not hold.
Source of the layout: https://www.edfplus.info/specs/edf.html (1992) and edfplus.html (2003).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from training.eeg.notes import Rule, UnusableError

MAX_SIGNALS: Final = 512
MAX_RECORD_BYTES: Final = 64 * 1024**2  # the standard advises 61,440
_MAX_GAIN: Final = 1e12  # a physical unit a digit; beyond it a float32 would overflow in the filters
_FIXED_BYTES: Final = 256
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,8}")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]{1,8}\.?[0-9]{0,8}|\.[0-9]{1,8})([eE][+-]?[0-9]{1,2})?")
_DATE: Final = re.compile(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}")
# name, width: one column of `signals` entries each, in this order
_COLUMNS: Final = (
    ("label", 16), ("transducer", 80), ("dimension", 8), ("physical_min", 8), ("physical_max", 8),
    ("digital_min", 8), ("digital_max", 8), ("prefiltering", 80), ("samples", 8), ("reserved", 32),
)  # fmt: skip


class Reader(Protocol):
    """What is read from: a file, or something that also hashes what passes."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EdfSignal:
    """One signal of a file. `gain` is physical units a digit, None where the header's ranges give no calibration."""

    label: str
    dimension: str
    samples_per_record: int
    gain: float | None
    offset: float

    def physical(self, digital: NDArray[np.int16]) -> NDArray[np.float64]:
        """Return values in the signal's own unit. Raises ValueError without a calibration."""
        if self.gain is None:
            raise ValueError(f"{self.label} has no calibration")
        return digital.astype(np.float64) * self.gain + self.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class EdfHeader:
    """A file's header. `records` is what the file really holds; `mended` says what the header had wrong."""

    patient: str
    recording: str
    record_s: Fraction
    records: int
    signals: tuple[EdfSignal, ...]
    mended: tuple[tuple[Rule, str], ...]

    @property
    def samples_per_record(self) -> int:
        """Return the samples of all signals in one record."""
        return sum(signal.samples_per_record for signal in self.signals)

    @property
    def duration_s(self) -> Fraction:
        """Return how long the recording is."""
        return self.records * self.record_s


def read_header(stream: Reader, file_bytes: int) -> EdfHeader:
    """Read the header; the stream then stands at the first record. Raises UnusableError by rule."""
    fixed = _Fields(_exactly(stream, _FIXED_BYTES, "the header"))
    version = fixed.text(8)
    if version != "0":
        raise _broken(f"version {version[:8]!r} is not 0: no EDF" if version else "it has no version")
    patient, recording, date = fixed.text(80), fixed.text(80), fixed.text(8)
    fixed.text(8)  # the time: recordings are read by position
    header_bytes, reserved = fixed.integer("the header's length"), fixed.text(44)
    claimed, record_s = fixed.integer("the number of records"), _duration(fixed.text(8))
    count = fixed.integer("the number of signals", width=4)
    if not 1 <= count <= MAX_SIGNALS:
        raise _broken(f"{count} signals; 1 to {MAX_SIGNALS} can be")
    if header_bytes != _FIXED_BYTES * (count + 1):
        raise _broken(f"a header of {header_bytes} bytes for {count} signals")
    if reserved.startswith("EDF+D"):
        raise UnusableError(Rule.DISCONTINUOUS, "EDF+D: its records need not follow each other")
    signals = _signals(stream, count)
    record_bytes = 2 * sum(signal.samples_per_record for signal in signals)
    if record_bytes > MAX_RECORD_BYTES:
        raise _broken(f"records of {record_bytes} bytes; {MAX_RECORD_BYTES} at most")
    records, left_over = divmod(max(0, file_bytes - header_bytes), record_bytes)
    mended = []
    if not _DATE.fullmatch(date):
        mended.append((Rule.DATE_ODD, f"start date {date!r}; no time of day is used"))
    if claimed != records:
        mended.append((Rule.RECORD_COUNT_WRONG, f"{claimed} records in the header, {records} in the file"))
    if left_over:
        mended.append((Rule.BYTES_LEFT_OVER, f"{left_over} bytes after the last whole record"))
    if not records:
        raise UnusableError(Rule.RECORDS_NONE, f"no whole record of {record_bytes} bytes in {file_bytes} bytes")
    return EdfHeader(
        patient=patient, recording=recording, record_s=record_s, records=records, signals=signals, mended=tuple(mended)
    )


def read_records(
    stream: Reader, header: EdfHeader, wanted: Sequence[int], records_at_once: int
) -> Iterator[list[NDArray[np.int16]]]:
    """Yield the digital samples of some signals, so many records at a time, in the order of `wanted`.

    Raises UnusableError when the file ends before its records do: it changed since its header was read.
    """
    ends = np.cumsum([signal.samples_per_record for signal in header.signals])
    places = [(int(ends[i]) - header.signals[i].samples_per_record, int(ends[i])) for i in wanted]
    width = header.samples_per_record
    for first in range(0, header.records, records_at_once):
        count = min(records_at_once, header.records - first)
        table = np.frombuffer(_exactly(stream, 2 * width * count, "a record"), "<i2").reshape(count, width)
        yield [table[:, start:stop].reshape(-1).astype(np.int16, copy=False) for start, stop in places]


def _exactly(stream: Reader, size: int, what: str) -> bytes:
    """Read all of a piece: a raw or network stream may give less at a time."""
    content = stream.read(size)
    while len(content) < size:
        more = stream.read(size - len(content))
        if not more:
            rule = Rule.HEADER_BROKEN if what == "the header" else Rule.UNREADABLE
            raise UnusableError(rule, f"the file ends within {what}: {len(content)} of {size} bytes")
        content += more
    return content


class _Fields:
    """A run of fixed-width fields, read one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def text(self, width: int) -> str:
        field = self._content[self._at : self._at + width]
        self._at += width
        return field.decode("latin-1").strip(" \0")

    def integer(self, what: str, width: int = 8) -> int:
        text = self.text(width)
        if not _INTEGER.fullmatch(text):
            raise _broken(f"{what} is {text!r}")
        return int(text)


def _duration(text: str) -> Fraction:
    if not _DECIMAL.fullmatch(text) or not 0 < (seconds := Fraction(Decimal(text))) <= 3600:
        raise _broken(f"records of {text!r} seconds")
    return seconds


def _signals(stream: Reader, count: int) -> tuple[EdfSignal, ...]:
    content = _Fields(_exactly(stream, _FIXED_BYTES * count, "the header"))
    columns = {name: [content.text(width) for _ in range(count)] for name, width in _COLUMNS}
    signals = []
    for row in zip(*columns.values(), strict=True):
        field = dict(zip(columns, row, strict=True))
        if not _INTEGER.fullmatch(field["samples"]) or int(field["samples"]) < 1:
            raise _broken(f"{field['samples']!r} samples of {field['label']!r} in a record")
        gain, offset = _calibration(field)
        signals.append(
            EdfSignal(
                label=field["label"],
                dimension=field["dimension"],
                samples_per_record=int(field["samples"]),
                gain=gain,
                offset=offset,
            )
        )
    return tuple(signals)


def _calibration(field: dict[str, str]) -> tuple[float | None, float]:
    """Return gain and offset: physical = digital * gain + offset. No gain where the ranges are empty or no numbers."""
    ends = ("physical_min", "physical_max", "digital_min", "digital_max")
    if not all(_DECIMAL.fullmatch(field[end]) for end in ends):
        return None, 0.0
    physical_min, physical_max, digital_min, digital_max = (float(field[end]) for end in ends)
    if digital_max <= digital_min or physical_max == physical_min:
        return None, 0.0
    gain = (physical_max - physical_min) / (digital_max - digital_min)
    if not math.isfinite(gain) or not 0 < abs(gain) < _MAX_GAIN:
        return None, 0.0
    return gain, physical_min - digital_min * gain


def _broken(detail: str) -> UnusableError:
    return UnusableError(Rule.HEADER_BROKEN, detail)
