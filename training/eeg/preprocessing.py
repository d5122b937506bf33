"""A recording's signal as it is learnt from: one rate, one reference, one band, standard deviations. Reads one stream.

Resampling, the common average and the filters are linear and fixed in time, so one multiplication of the spectrum does
them all: for each block of minutes, a forward transform at the file's rate, the response of the zero-phase filters, and
a backward transform at ours. Blocks overlap by margins in which the filters' memory fades, so a file is read once,
forwards, in bounded memory, however long it is. The z-score needs the whole recording: the blocks wait in a scratch
file (in memory up to 64 MiB), and `stored` reads it once more.

The filters are those of `scipy.signal.sosfiltfilt` with Butterworth sections, as closed formulae of the frequency.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any, Final, Self

import numpy as np
import scipy.fft  # type: ignore[import-untyped]  # scipy has no stubs
from numpy.typing import NDArray

from training.eeg.edf import EdfHeader, Reader, read_records
from training.eeg.montage import CHANNELS, choose, microvolts
from training.eeg.notes import Rule, UnusableError
from training.eeg.sections import Signal

VERSION: Final = 1
"""Counts the code's changes that change what comes out; part of the cache's key. A test holds samples of it."""

_ORDER: Final = 4  # of the Butterworth filters, each passed forwards and backwards
_NOTCH_QUALITY: Final = 30.0
_BLOCK_S: Final = 600
_UNIT_MAX_S: Final = 64  # whole samples at both rates must come together at least this often
_IN_MEMORY_BYTES: Final = 64 * 1024**2
_FULL_SCALE: Final = 32767

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one file becomes blocks: which signals, and the seconds of a block and of its margins."""

    header: EdfHeader
    how: Signal
    picks: tuple[int | None, ...]
    unit_s: int
    block_s: int
    margin_s: int
    odd: tuple[tuple[Rule, str], ...]

    @property
    def samples(self) -> int:
        """Return the recording's length at our rate."""
        return math.floor(self.header.duration_s * self.how.rate_hz)

    def rate(self, index: int) -> Fraction:
        """Return a signal's samples a second."""
        return self.header.signals[index].samples_per_record / self.header.record_s


def make_plan(header: EdfHeader, how: Signal) -> Plan:
    """Choose the channels and the blocks. Raises UnusableError by rule."""
    if header.duration_s < how.shortest_s:
        raise UnusableError(Rule.TOO_SHORT, f"{float(header.duration_s):.3f} s; the least is {how.shortest_s} s")
    found, odd = choose([signal.label for signal in header.signals])
    picks = list(found)
    notes = [*header.mended, *odd]
    for place, index in enumerate(found):
        if index is None:
            continue
        signal = header.signals[index]
        if signal.gain is None:
            picks[place] = None
            notes.append((Rule.CHANNEL_UNCALIBRATED, f"{CHANNELS[place]}: taken as missing"))
        elif microvolts(signal.dimension) is None:
            notes.append((Rule.UNIT_UNKNOWN, f"{CHANNELS[place]}: {signal.dimension!r} taken as uV"))
    missing = picks.count(None)
    if missing > how.max_missing_channels:
        names = " ".join(name for name, index in zip(CHANNELS, picks, strict=True) if index is None)
        raise UnusableError(Rule.CHANNELS_MISSING, f"{missing} of 19: {names}")
    plan = Plan(header=header, how=how, picks=tuple(picks), unit_s=1, block_s=0, margin_s=0, odd=())
    rates = sorted({plan.rate(index) for index in picks if index is not None})
    if len(rates) > 1:
        notes.append((Rule.RATES_MIXED, " ".join(f"{float(rate):g}" for rate in rates)))
    unit_s = math.lcm(*(rate.denominator for rate in rates))
    if unit_s > _UNIT_MAX_S or not 32 <= rates[0] <= rates[-1] <= 20_000:
        raise UnusableError(Rule.RATE_ODD, f"{float(rates[0]):g} to {float(rates[-1]):g} Hz")
    margin_s = unit_s * math.ceil(10 / how.low_hz / unit_s)
    blocks = math.ceil(header.duration_s / _BLOCK_S)
    least_s = math.ceil(header.duration_s / blocks) + 2 * margin_s
    # Transforms of lengths with small factors are several times faster, and common rates have none but 2 and 5.
    whole_s = unit_s * scipy.fft.next_fast_len(math.ceil(least_s / unit_s), real=True)
    return Plan(
        header=header,
        how=how,
        picks=tuple(picks),
        unit_s=unit_s,
        block_s=whole_s - 2 * margin_s,
        margin_s=margin_s,
        odd=tuple(notes),
    )


class Prepared:
    """A recording's filtered signal on its way into the cache. A context: it owns a scratch file."""

    def __init__(self, plan: Plan, stream: Reader) -> None:
        self.plan = plan
        self.samples = plan.samples
        self._scratch: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115  # closed by __exit__
        try:
            self._read(stream)
        except BaseException:
            self._scratch.close()
            raise

    def _read(self, stream: Reader) -> None:
        """Filter the recording into the scratch file and learn its deviations. Raises UnusableError by rule."""
        sums = np.zeros((2, len(CHANNELS)))
        lanes = _lanes(self.plan)
        for block in _blocks(self.plan, stream, lanes):
            self._scratch.write(block.data.cast("B") if block.flags.c_contiguous else block.tobytes())
            sums += (block.sum(1, dtype=np.float64), np.square(block, dtype=np.float64).sum(1))
        mean = sums[0] / self.samples
        deviation = np.sqrt(np.maximum(sums[1] / self.samples - mean**2, 0))
        varied = np.zeros(len(CHANNELS), bool)
        for lane in lanes:
            varied[lane.places] = lane.highest > lane.lowest
        picked = np.array([index is not None for index in self.plan.picks])
        self.present = picked & varied & np.isfinite(deviation) & (deviation > 0)
        self._scale = np.divide(1, deviation, where=self.present, out=np.zeros(len(CHANNELS))).astype(np.float32)
        self._mean = np.where(self.present, mean, 0).astype(np.float32)
        flat = [name for name, gone in zip(CHANNELS, picked & ~self.present, strict=True) if gone]
        missing = int((~self.present).sum())
        if missing > self.plan.how.max_missing_channels:
            raise UnusableError(Rule.CHANNELS_MISSING, f"{missing} of 19, of these flat: {' '.join(flat)}")
        self.odd = (*self.plan.odd, *((Rule.CHANNEL_FLAT, name) for name in flat))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.close()

    def stored(self) -> Iterator[NDArray[Any]]:
        """Yield the signal in standard deviations, clipped, as it is stored: (samples, 19), in order.

        int16 holds the clipping limit at full scale, the floats the deviations themselves. Missing and flat: zeros.
        """
        how = self.plan.how
        width = len(CHANNELS) * 4
        self._scratch.seek(0)
        left, at_once = self.samples, self.plan.block_s * how.rate_hz
        factor = _FULL_SCALE / how.clip_sd if how.storage == "int16" else 1.0
        while left:
            count = min(left, at_once)
            block = np.frombuffer(bytearray(self._scratch.read(count * width)), np.float32).reshape(-1, count)
            block -= self._mean[:, None]
            block *= (self._scale * np.float32(factor))[:, None]
            block[~self.present] = 0  # whatever it held: no number may pass
            np.clip(block, -how.clip_sd * factor, how.clip_sd * factor, out=block)
            if how.storage == "int16":
                np.rint(block, out=block)
            yield np.ascontiguousarray(block.astype(how.storage, copy=False).T)
            left -= count


def response(frequency_hz: NDArray[np.float64], how: Signal) -> NDArray[np.float64]:
    """Return what the filters multiply each frequency by: high-pass, low-pass and notches, forwards and backwards."""
    with np.errstate(divide="ignore", over="ignore"):
        gain = 1 / (1 + (how.low_hz / frequency_hz) ** (2 * _ORDER))
    gain /= 1 + (frequency_hz / how.high_hz) ** (2 * _ORDER)
    for notch_hz in how.notch_hz:
        away = (frequency_hz**2 - notch_hz**2) ** 2
        gain *= away / (away + (frequency_hz * notch_hz / _NOTCH_QUALITY) ** 2)
    return gain


class _Lane:
    """The picked channels of one rate: what is read of them and not yet worked off, and the spectrum's factors."""

    def __init__(self, plan: Plan, rate: Fraction, places: list[int]) -> None:
        self.rate, self.places = rate, places
        indices = [index for place in places if (index := plan.picks[place]) is not None]
        self.indices = indices
        signals = [plan.header.signals[index] for index in indices]
        self._gain = np.array([(s.gain or 0) * (microvolts(s.dimension) or 1) for s in signals], np.float32)
        whole_s = plan.block_s + 2 * plan.margin_s
        self.margin, self.block, self.whole = (int(s * rate) for s in (plan.margin_s, plan.block_s, whole_s))
        self._made = whole_s * plan.how.rate_hz
        kept = min(self.whole, self._made) // 2 + 1
        factors = response(np.arange(kept) / whole_s, plan.how) * (self._made / self.whole)
        self._factors = factors.astype(np.float32)
        self._core = slice(plan.margin_s * plan.how.rate_hz, (plan.margin_s + plan.block_s) * plan.how.rate_hz)
        self.waiting = np.empty((len(places), 0), np.float32)
        self.lowest = np.full(len(places), np.iinfo(np.int16).max)
        self.highest = np.full(len(places), np.iinfo(np.int16).min)
        self._has_begun = False

    def take(self, digital: list[NDArray[np.int16]]) -> None:
        """Add what was read next."""
        piece = np.stack(digital)
        self.lowest = np.minimum(self.lowest, piece.min(1))
        self.highest = np.maximum(self.highest, piece.max(1))
        self.waiting = np.concatenate((self.waiting, piece * self._gain[:, None]), axis=1)

    def begin(self) -> None:
        """Mirror the beginning into its margin; what was taken so far reaches beyond it, or is all there is."""
        if not self._has_begun:
            self.waiting = np.concatenate((_mirrored(self.waiting, self.margin), self.waiting), axis=1)
            self._has_begun = True

    def end(self, blocks: int) -> None:
        """Mirror the end, far enough for so many blocks more."""
        self.begin()
        lacking = (blocks - 1) * self.block + self.whole - self.waiting.shape[1]
        tail = _mirrored(self.waiting[:, ::-1], max(0, lacking))[:, ::-1]
        self.waiting = np.concatenate((self.waiting, tail), axis=1)

    def pop(self) -> Floats:
        """Return the next block, filtered and at our rate: (channels, block_s * rate_hz)."""
        spectrum = scipy.fft.rfft(self.waiting[:, : self.whole], axis=1)[:, : len(self._factors)]
        spectrum *= self._factors
        self.waiting = self.waiting[:, self.block :]
        made: Floats = scipy.fft.irfft(spectrum, n=self._made, axis=1, overwrite_x=True)
        return made[:, self._core]


def _lanes(plan: Plan) -> list[_Lane]:
    places: dict[Fraction, list[int]] = {}
    for place, index in enumerate(plan.picks):
        if index is not None:
            places.setdefault(plan.rate(index), []).append(place)
    return [_Lane(plan, rate, members) for rate, members in sorted(places.items())]


def _blocks(plan: Plan, stream: Reader, lanes: list[_Lane]) -> Iterator[Floats]:
    """Yield the filtered signal against the common average: (19, samples) at our rate, in order."""
    wanted = [index for lane in lanes for index in lane.indices]
    at_once = max(1, math.floor(plan.block_s / plan.header.record_s))
    left = plan.samples
    for pieces in read_records(stream, plan.header, wanted, at_once):
        rest = iter(pieces)
        for lane in lanes:
            lane.take([next(rest) for _ in lane.places])
        while left and all(lane.waiting.shape[1] >= lane.whole for lane in lanes):
            for lane in lanes:
                lane.begin()
            block = _averaged(plan, lanes)[:, :left]
            left -= block.shape[1]
            yield block
    for lane in lanes if left else ():
        lane.end(math.ceil(left / (plan.block_s * plan.how.rate_hz)))
    while left:
        block = _averaged(plan, lanes)[:, :left]
        left -= block.shape[1]
        yield block


def _averaged(plan: Plan, lanes: list[_Lane]) -> Floats:
    whole = np.zeros((len(CHANNELS), plan.block_s * plan.how.rate_hz), np.float32)
    places = [place for lane in lanes for place in lane.places]
    for lane in lanes:
        whole[lane.places] = lane.pop()
    average = whole.sum(0) / np.float32(len(places))  # the rows of missing channels are zeros here
    whole[places] -= average
    return whole


def _mirrored(signal: Floats, count: int) -> Floats:
    """Return `count` samples to stand before the signal: its mirror image, and before that its last known value.

    Not turned about its first sample, as scipy does: where that is a blink's, the level would jump by twice the blink.
    """
    there = min(count, signal.shape[1] - 1)
    before = signal[:, there:0:-1]
    edge = signal[:, there : there + 1]
    return np.concatenate((np.repeat(edge, count - there, axis=1), before), axis=1)
