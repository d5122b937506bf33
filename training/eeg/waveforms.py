"""Synthetic scalp EEG: a 1/f background with an alpha rhythm, artefacts, and seizures of evolving spike-waves. Pure.

Nobody's brain: good for trying a pipeline, for nothing clinical. Amplitudes are of the order of real ones (background
10 to 40 uV, blinks 80 to 200, seizures 50 to 250). What resembles a seizure and is none is there on purpose: rhythmic
slowing at one frequency, chewing, single spikes, runs of spike-waves shorter than three seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.fft  # type: ignore[import-untyped]  # scipy has no stubs
from numpy.typing import NDArray

from training.eeg.annotations import Span
from training.eeg.montage import CHANNELS

Floats = NDArray[np.float32]

# On a disc seen from above: x to the right, y to the front, the outermost electrodes at 0.9.
_SITES: Final = {
    "Fp1": (-0.28, 0.86), "F3": (-0.39, 0.49), "C3": (-0.45, 0.0), "P3": (-0.39, -0.49), "O1": (-0.28, -0.86),
    "F7": (-0.73, 0.53), "T3": (-0.9, 0.0), "T5": (-0.73, -0.53), "Fz": (0.0, 0.45), "Cz": (0.0, 0.0),
    "Pz": (0.0, -0.45), "Fp2": (0.28, 0.86), "F4": (0.39, 0.49), "C4": (0.45, 0.0), "P4": (0.39, -0.49),
    "O2": (0.28, -0.86), "F8": (0.73, 0.53), "T4": (0.9, 0.0), "T6": (0.73, -0.53),
}  # fmt: skip
_PLACES: Final = np.array([_SITES[name] for name in CHANNELS], np.float32)
_SOURCES: Final = 8
_FOCI: Final = ((-0.8, 0.0), (0.8, 0.0), (-0.4, 0.5), (0.4, 0.5), (0.0, 0.7), (0.3, -0.7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What stays the same about one invented person, over all of his recordings."""

    background_uv: float
    alpha_hz: float
    alpha_uv: float
    line_uv: float
    blinks_per_min: float
    focus: int
    width: float
    fastest_hz: float
    slowest_hz: float
    seizure_uv: float


def draw_person(random: np.random.Generator) -> Person:
    """Draw a person."""
    return Person(
        background_uv=float(random.uniform(10, 25)),
        alpha_hz=float(random.uniform(8.5, 11)),
        alpha_uv=float(random.uniform(4, 25)),
        line_uv=float(random.uniform(0.5, 6)),
        blinks_per_min=float(random.uniform(2, 14)),
        focus=int(random.integers(len(_FOCI))),
        width=float(random.uniform(0.45, 0.9)),
        fastest_hz=float(random.uniform(3.5, 6)),
        slowest_hz=float(random.uniform(1.6, 2.5)),
        seizure_uv=float(random.uniform(60, 180)),
    )


def record(
    person: Person, duration_s: int, rate_hz: int, seizures: tuple[Span, ...], random: np.random.Generator
) -> Floats:
    """Return a recording in microvolts, (19, duration_s * rate_hz), with seizures at the given seconds."""
    signal = _background(person, duration_s * rate_hz, rate_hz, random)
    _add_artefacts(signal, person, rate_hz, random)
    for start_s, stop_s in seizures:
        first, last = round(start_s * rate_hz), round(stop_s * rate_hz)
        signal[:, first:last] += _seizure(person, last - first, rate_hz, random)
        after = slice(last, last + 20 * rate_hz)  # the brain is quiet, then slow, after a seizure
        signal[:, after] *= np.linspace(0.5, 1, 20 * rate_hz, dtype=np.float32)[: signal[:, after].shape[1]]
    return signal


def heart(duration_s: int, rate_hz: int, random: np.random.Generator) -> Floats:
    """Return an electrocardiogram's beats in microvolts, (duration_s * rate_hz)."""
    signal = random.normal(0, 8, duration_s * rate_hz).astype(np.float32)
    beats = np.cumsum(random.normal(0.85, 0.05, int(duration_s / 0.6)))
    shape = 700 * _bump(round(0.08 * rate_hz))
    for beat_s in beats:
        _add(signal, round(float(beat_s) * rate_hz), shape)
    return signal


def _background(person: Person, samples: int, rate_hz: int, random: np.random.Generator) -> Floats:
    """Return sources over the scalp and each electrode's own noise, 1/f both, and an alpha rhythm at the back."""
    frequency = np.fft.rfftfreq(samples, 1 / rate_hz)
    pink = 1 / (frequency + 0.7)
    alpha = np.exp(-(((frequency - person.alpha_hz) / 0.8) ** 2))
    sources = _noise(pink, _SOURCES, samples, random)
    sites = random.uniform(-0.9, 0.9, (_SOURCES, 2)).astype(np.float32)
    mixed: Floats = _near(sites, 0.5).T @ sources
    mixed *= person.background_uv / mixed.std()
    mixed += 0.4 * person.background_uv * _noise(pink, len(CHANNELS), samples, random)
    mixed += person.alpha_uv * _near(np.array([[0.0, -0.9]], np.float32), 0.5).T * _noise(alpha, 1, samples, random)
    line = np.sin(2 * np.pi * 60 / rate_hz * np.arange(samples)).astype(np.float32)
    mixed += person.line_uv * random.uniform(0.2, 1.5, (len(CHANNELS), 1)).astype(np.float32) * line
    return mixed


def _noise(shape: NDArray[np.float64], rows: int, samples: int, random: np.random.Generator) -> Floats:
    """Return noise with the amplitude spectrum `shape` and a standard deviation of 1, (rows, samples)."""
    spectrum = random.standard_normal((rows, 2 * len(shape)), np.float32).view(np.complex64)
    spectrum *= shape.astype(np.float32)
    made: Floats = scipy.fft.irfft(spectrum, n=samples, axis=1, overwrite_x=True)
    made /= made.std(axis=1, keepdims=True)
    return made


def _near(sites: Floats, width: float) -> Floats:
    """Return how strongly each site reaches each electrode, (sites, 19)."""
    distance = np.linalg.norm(sites[:, None] - _PLACES, axis=2)
    reached: Floats = np.exp(-((distance / width) ** 2)).astype(np.float32)
    return reached


def _add_artefacts(signal: Floats, person: Person, rate_hz: int, random: np.random.Generator) -> None:
    minutes = signal.shape[1] / rate_hz / 60
    eyes = _near(np.array([[0.0, 1.1]], np.float32), 0.55)[0]
    for at, uv in _moments(signal, person.blinks_per_min * minutes, (80, 200), random):
        _add(signal, at, eyes[:, None] * uv * _bump(round(0.35 * rate_hz)))
    for at, uv in _moments(signal, 0.6 * minutes, (15, 60), random):
        _add(signal, at, uv * _muscle(round(random.uniform(1, 6) * rate_hz), rate_hz, random))
    for at, uv in _moments(signal, 0.5 * minutes, (150, 600), random):
        fading = np.exp(-np.arange(4 * rate_hz, dtype=np.float32) / (random.uniform(0.2, 0.8) * rate_hz))
        _add(signal[random.integers(len(signal))], at, random.choice((-1, 1)) * uv * fading)
    for at, uv in _moments(signal, 0.12 * minutes, (20, 60), random):
        length = round(random.uniform(5, 20) * rate_hz)
        chewing = np.sin(np.pi * random.uniform(1, 2) / rate_hz * np.arange(length)) ** 4
        _add(signal, at, (uv * chewing).astype(np.float32) * _muscle(length, rate_hz, random))
    for at, uv in _moments(signal, 0.15 * minutes, (40, 100), random):
        _add(signal, at, uv * _slowing(round(random.uniform(4, 14) * rate_hz), rate_hz, random))
    for at, uv in _moments(signal, 0.5 * minutes, (40, 120), random):
        length = round(random.choice((0.4, 0.4, 1.0, 2.5)) * rate_hz)
        rhythm = np.full(length, random.uniform(2.5, 4))
        _add(signal, at, uv * _near(_focus(person), 0.5).T * _spike_waves(rhythm, rate_hz))
    for at, _ in _moments(signal, 0.05 * minutes, (0, 1), random):
        signal[random.integers(len(signal)), at : at + round(random.uniform(2, 15) * rate_hz)] *= 0.02  # came off


def _moments(
    signal: Floats, expected: float, uv: tuple[float, float], random: np.random.Generator
) -> list[tuple[int, float]]:
    """Return when something happens, and how strongly."""
    count = random.poisson(expected)
    return [
        (int(at), float(strength))
        for at, strength in zip(random.integers(0, signal.shape[1], count), random.uniform(*uv, count), strict=True)
    ]


def _add(signal: Floats, at: int, shape: Floats) -> None:
    """Add what fits before the signal's end."""
    room = max(0, signal.shape[-1] - at)
    signal[..., at : at + shape.shape[-1]] += shape[..., :room]


def _bump(samples: int) -> Floats:
    return np.hanning(samples).astype(np.float32)


def _faded(samples: int, rate_hz: int) -> Floats:
    """Return a gate that opens and closes within half a second each."""
    steps = np.arange(samples, dtype=np.float32) * (2 / rate_hz)
    gate: Floats = np.clip(np.minimum(steps, steps[::-1]), 0, 1)
    return gate


def _muscle(samples: int, rate_hz: int, random: np.random.Generator) -> Floats:
    frequency = np.fft.rfftfreq(samples, 1 / rate_hz)
    side = np.array([[random.choice((-0.9, 0.9)), random.uniform(-0.3, 0.6)]], np.float32)
    fast = np.where((frequency > 18) & (frequency < 110), 1.0, 0.02)
    made: Floats = _near(side, 0.5).T * _noise(fast, 1, samples, random) * _faded(samples, rate_hz)
    return made


def _slowing(samples: int, rate_hz: int, random: np.random.Generator) -> Floats:
    """Return rhythmic slow waves at one frequency over the front: it does not evolve, so it is no seizure."""
    turns = 2 * np.pi * random.uniform(1.5, 2.8) / rate_hz * np.arange(samples)
    wave = (np.sin(turns) * _faded(samples, rate_hz)).astype(np.float32)
    made: Floats = _near(np.array([[random.uniform(-0.3, 0.3), 0.7]], np.float32), 0.6).T * wave
    return made


def _focus(person: Person) -> Floats:
    return np.array([_FOCI[person.focus]], np.float32)


def _spike_waves(hz: NDArray[np.float64], rate_hz: int) -> Floats:
    """Return spikes, each with its slow wave, at a frequency that may change from sample to sample."""
    phase = np.cumsum(hz) / rate_hz % 1
    spike = 1.3 * np.exp(-(((phase - 0.12) / 0.035) ** 2))
    wave = np.where(phase > 0.25, np.sin(np.pi * (phase - 0.25) / 0.75), 0)
    return (spike - wave).astype(np.float32)


def _seizure(person: Person, samples: int, rate_hz: int, random: np.random.Generator) -> Floats:
    """Return a seizure: fast and small at its focus first, then slower, larger and wider, and over at once."""
    done = np.linspace(0, 1, samples)
    hz = person.fastest_hz + (person.slowest_hz - person.fastest_hz) * done**0.7
    hz *= 1 + 0.06 * np.interp(done, np.linspace(0, 1, 40), random.standard_normal(40))
    size = np.interp(done, (0, 0.15, 0.5, 0.9, 1), (0.25, 0.6, 1, 0.9, 0.5)) * person.seizure_uv
    size *= random.uniform(0.7, 1.3) * (1 + 0.15 * np.interp(done, np.linspace(0, 1, 60), random.standard_normal(60)))
    spread = np.interp(done, (0, 0.2, 0.7), (0, 0.2, 1)).astype(np.float32)
    narrow, wide = _near(_focus(person), 0.45).T, _near(_focus(person), person.width + 0.35).T
    reached: Floats = narrow * (1 - spread) + wide * spread
    fast = np.sin(2 * np.pi * 16 / rate_hz * np.arange(samples)) * np.clip(1 - done * samples / rate_hz / 4, 0, 1)
    rhythm = _spike_waves(hz, rate_hz) * size.astype(np.float32) + (20 * fast).astype(np.float32)
    made: Floats = reached * rhythm
    return made
