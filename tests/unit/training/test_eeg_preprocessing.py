"""What becomes of a signal: filtered, one rate, one reference, deviations; block by block as if it were one."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import scipy.signal  # type: ignore[import-untyped]  # scipy has no stubs
from numpy.typing import NDArray

from tests.support.eeg import LABELS, edf_bytes, noise, signal_section
from training.eeg.edf import read_header
from training.eeg.montage import CHANNELS
from training.eeg.notes import Rule, UnusableError
from training.eeg.preprocessing import VERSION, Prepared, make_plan, response
from training.eeg.sections import Signal


def prepared(content: bytes, how: Signal) -> tuple[NDArray[np.float64], Prepared]:
    """Return what is stored, as deviations (19, samples), and the preparation."""
    stream = io.BytesIO(content)
    with Prepared(make_plan(read_header(stream, len(content)), how), stream) as done:
        stored = np.concatenate(list(done.stored()))
    factor = how.clip_sd / 32767 if how.storage == "int16" else 1
    return stored.astype(np.float64).T * factor, done


def rhythms(seconds: int, rate_hz: float, hz: tuple[float, ...], uv: float = 100) -> NDArray[np.int16]:
    """Return 19 sines of 0.1 uV a digit; each channel another phase, so that the average is nothing."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    phases = 2 * np.pi * np.arange(19)[:, None] / 19
    return np.rint(sum(10 * uv * np.sin(2 * np.pi * one * time + phases) for one in hz)).astype(np.int16)


SEEN = [0.8432, -1.3233, 0.1648, 0.8078, 0.9195]
WIDE = {"rate_hz": 256, "high_hz": 100.0, "storage": "float32"}


def test_the_response_is_that_of_scipy_s_filters_there_and_back() -> None:
    how = signal_section(rate_hz=256, low_hz=0.5, high_hz=40.0, notch_hz=(50.0,))
    rate = 100_000  # so fast that a digital filter is the analogue one
    frequency = np.array([0.2, 0.5, 1, 5, 20, 40, 49, 51, 60, 100.0])
    wanted = np.ones(len(frequency))
    for sos in (
        scipy.signal.butter(4, 0.5, "highpass", fs=rate, output="sos"),
        scipy.signal.butter(4, 40, "lowpass", fs=rate, output="sos"),
    ):
        wanted *= np.abs(scipy.signal.sosfreqz(sos, frequency, fs=rate)[1]) ** 2
    wanted *= np.abs(scipy.signal.freqz(*scipy.signal.iirnotch(50, 30, fs=rate), frequency, fs=rate)[1]) ** 2
    np.testing.assert_allclose(response(frequency, how), wanted, rtol=2e-3)
    assert response(np.array([0.0]), how) == 0
    assert response(np.array([50.0]), how) == 0


def test_a_recording_comes_out_as_scipy_s_way_has_it() -> None:
    digital = noise(60, 256)
    how = signal_section(rate_hz=128, high_hz=30.0, storage="float32")
    ours, _ = prepared(edf_bytes(digital, rate_hz=256), how)
    theirs = digital * 0.1
    for sos in (
        scipy.signal.butter(4, 0.5, "highpass", fs=256, output="sos"),
        scipy.signal.butter(4, 30, "lowpass", fs=256, output="sos"),
    ):
        theirs = scipy.signal.sosfiltfilt(sos, theirs, axis=1, padlen=2000)
    theirs = theirs[:, ::2]
    theirs -= theirs.mean(0)
    theirs = (theirs - theirs.mean(1, keepdims=True)) / theirs.std(1, keepdims=True)
    inside = slice(5 * 128, -5 * 128)
    assert np.abs(ours - theirs)[:, inside].max() < 0.15
    assert np.corrcoef(ours[:, inside].ravel(), theirs[:, inside].ravel())[0, 1] > 0.9995


@pytest.mark.parametrize("rate_hz", [200, 250, 256, 400, 500, 512, 1000])
def test_a_rhythm_keeps_its_frequency_phase_and_place_at_any_rate(rate_hz: int) -> None:
    ours, done = prepared(edf_bytes(rhythms(30, rate_hz, (10.0,)), rate_hz=rate_hz), signal_section(**WIDE))
    time = np.arange(30 * 256) / 256
    wanted = math.sqrt(2) * np.sin(2 * np.pi * 10 * time + 2 * np.pi * np.arange(19)[:, None] / 19)
    assert done.samples == 30 * 256
    assert np.abs(ours - wanted)[:, 512:-512].max() < 0.005


@pytest.mark.parametrize(("hz", "left"), [(0.1, 0.01), (60.0, 0.01), (10.0, 1.0), (115.0, 0.3)])
def test_what_is_out_of_the_band_is_gone(hz: float, left: float) -> None:
    how = signal_section(**WIDE, notch_hz=(60.0,), clip_sd=50.0)
    ours, _ = prepared(edf_bytes(rhythms(60, 512, (8.0, hz)), rate_hz=512), how)
    spectrum = np.abs(np.fft.rfft(ours[:, 2560:-2560], axis=1)).mean(0)
    frequency = np.fft.rfftfreq(40 * 256, 1 / 256)
    at = spectrum[np.abs(frequency - hz).argmin()] / spectrum[np.abs(frequency - 8).argmin()]
    assert at <= left * 1.05


def test_a_long_recording_in_blocks_is_the_same_as_in_one_piece() -> None:
    how = signal_section(storage="float32", clip_sd=100.0)
    digital = noise(1500, 64, seed=4)
    digital[:, ::300] += 2000
    in_blocks, done = prepared(edf_bytes(digital, seconds=4), how)
    assert done.plan.block_s < 700
    factors = response(np.fft.rfftfreq(digital.shape[1], 1 / 64), how)
    whole = np.fft.irfft(np.fft.rfft(digital * 0.1, axis=1) * factors, axis=1)
    whole -= whole.mean(0)
    whole = (whole - whole.mean(1, keepdims=True)) / whole.std(1, keepdims=True)
    assert np.abs(in_blocks - whole)[:, 30 * 64 : -30 * 64].max() < 3e-4


@pytest.mark.parametrize("storage", ["int16", "float16", "float32"])
def test_each_way_of_storing_holds_the_same_deviations(storage: str) -> None:
    content = edf_bytes(noise(20, 64))
    exact, _ = prepared(content, signal_section(storage="float32"))
    ours, _ = prepared(content, signal_section(storage=storage))
    np.testing.assert_allclose(exact.std(1), 1, rtol=1e-4)
    np.testing.assert_allclose(exact.mean(1), 0, atol=1e-4)
    assert np.abs(ours - exact).max() <= {"int16": 0.51 * 10 / 32767, "float16": 2**-9, "float32": 0}[storage] + 1e-7


def test_what_is_beyond_the_limit_is_clipped() -> None:
    digital = noise(60, 64)
    digital[3, 1000:1010] = 32000
    ours, _ = prepared(edf_bytes(digital), signal_section(clip_sd=4.0))
    assert np.abs(ours).max() == pytest.approx(4)


def test_the_average_over_the_electrodes_is_nothing() -> None:
    digital = noise(20, 64) // 10 + noise(20, 64, 1, seed=9)
    ours, _ = prepared(edf_bytes(digital), signal_section(storage="float32"))
    alone, _ = prepared(edf_bytes(noise(20, 64) // 10), signal_section(storage="float32"))
    assert np.abs(ours - alone).max() < 0.02


def test_mixed_rates_become_one() -> None:
    fast, slow = rhythms(20, 256, (9.0,)), rhythms(20, 128, (9.0,))
    digital = [fast[place] if place % 2 else slow[place] for place in range(19)]
    rates: list[float] = [256 if place % 2 else 128 for place in range(19)]
    ours, done = prepared(edf_bytes(digital, rate_hz=rates), signal_section(**{**WIDE, "high_hz": 60.0}))
    same, _ = prepared(edf_bytes(fast, rate_hz=256), signal_section(**{**WIDE, "high_hz": 60.0}))
    assert np.abs(ours - same)[:, 256:-256].max() < 0.02
    assert Rule.RATES_MIXED in [rule for rule, _ in done.odd]


def test_missing_and_flat_channels_are_zeros_and_known() -> None:
    digital = noise(20, 64)
    digital[CHANNELS.index("C4")] = 77
    kept = [place for place, name in enumerate(CHANNELS) if name != "Fz"]
    content = edf_bytes(digital[kept], labels=tuple(LABELS[place] for place in kept))
    ours, done = prepared(content, signal_section())
    gone = [CHANNELS.index("Fz"), CHANNELS.index("C4")]
    assert not ours[gone].any()
    assert np.flatnonzero(~done.present).tolist() == sorted(gone)
    assert {Rule.CHANNEL_MISSING, Rule.CHANNEL_FLAT} == {rule for rule, _ in done.odd}
    with pytest.raises(UnusableError) as caught:
        prepared(content, signal_section(max_missing_channels=0))
    assert caught.value.rule is Rule.CHANNELS_MISSING


def test_units_are_volts_of_any_size() -> None:
    one, _ = prepared(edf_bytes(noise(20, 64)), signal_section())
    other, done = prepared(edf_bytes(noise(20, 64), signal_dimension="mV"), signal_section())
    np.testing.assert_allclose(one, other, atol=1e-3)
    assert done.odd == ()
    assert {rule for rule, _ in prepared(edf_bytes(noise(9, 64), signal_dimension="bpm"), signal_section())[1].odd} == {
        Rule.UNIT_UNKNOWN
    }


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (edf_bytes(noise(4, 64)), Rule.TOO_SHORT),
        (edf_bytes(noise(20, 16), rate_hz=16), Rule.RATE_ODD),
        (edf_bytes(noise(20, 100), rate_hz=100 / 0.77, seconds=0.77), Rule.RATE_ODD),
        (edf_bytes(noise(20, 64, 3), labels=LABELS[:3]), Rule.CHANNELS_MISSING),
        (edf_bytes(noise(20, 64), signal_physical_max="nan"), Rule.CHANNELS_MISSING),
        (edf_bytes(noise(20, 64), labels=tuple(f"X{i}" for i in range(19))), Rule.CHANNELS_MISSING),
    ],
    ids=["short", "slow", "odd-rate", "few", "uncalibrated", "unnamed"],
)
def test_what_cannot_be_prepared_is_refused_by_name(content: bytes, rule: Rule) -> None:
    with pytest.raises(UnusableError) as caught:
        prepared(content, signal_section())
    assert caught.value.rule is rule


@pytest.mark.parametrize("seconds", [5, 11, 41, 59, 60, 61, 599, 601, 640, 641])
def test_every_length_comes_out_at_its_length(seconds: int) -> None:
    ours, done = prepared(edf_bytes(noise(seconds, 32), rate_hz=32), signal_section(rate_hz=32, high_hz=12.0))
    assert ours.shape == (19, seconds * 32)
    assert done.present.all()
    assert np.isfinite(ours).all()


def test_what_comes_out_belongs_to_the_code_s_version() -> None:
    """Fails when the signal changes: then count preprocessing.VERSION up, so that no cache mixes the two."""
    ours, done = prepared(edf_bytes(noise(20, 100), rate_hz=100), signal_section(notch_hz=(50.0,), rate_hz=128))
    assert (VERSION, done.samples) == (1, 2560)
    seen = [ours[channel, sample] for channel, sample in ((0, 0), (3, 700), (7, 1300), (12, 2000), (18, 2559))]
    np.testing.assert_allclose(seen, SEEN, atol=5e-4)
