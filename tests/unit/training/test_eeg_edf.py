"""EDF, read by our own parser: equal to other readers to the last bit, and to no header's harm."""

from __future__ import annotations

import io
import warnings
from fractions import Fraction
from pathlib import Path

import edfio
import mne
import numpy as np
import pyedflib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.eeg import LABELS, edf_bytes, noise
from training.eeg.edf import EdfHeader, read_header, read_records
from training.eeg.montage import CHANNELS, choose, microvolts, place_of
from training.eeg.notes import Rule, UnusableError
from training.eeg.synthetic import Size, lay_out

REAL = sorted((Path(pyedflib.__file__).parent / "tests/data").glob("*.edf"))


def header_of(content: bytes, size: int | None = None) -> EdfHeader:
    return read_header(io.BytesIO(content), len(content) if size is None else size)


def every_signal(path: Path) -> tuple[EdfHeader, list[NDArray[np.int16]]]:
    with path.open("rb") as stream:
        header = read_header(stream, path.stat().st_size)
        pieces = list(read_records(stream, header, range(len(header.signals)), 7))
    return header, [np.concatenate(of_signal) for of_signal in zip(*pieces, strict=True)]


def check_against_mne(path: Path) -> int:
    """Compare each signal with MNE's numbers, to one unit in the last place of the file; return how many were."""
    header, signals = every_signal(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MNE tells of odd headers, which is our own tests' business
        raw = mne.io.read_raw_edf(path, preload=False, verbose="error")
    pairs = [pair for pair in zip(header.signals, signals, strict=True) if pair[0].label != "EDF Annotations"]
    longest = max(signal.samples_per_record for signal, _ in pairs)
    compared = 0
    for name, (signal, digital) in zip(raw.ch_names, pairs, strict=True):
        if signal.samples_per_record != longest:
            continue  # MNE resamples what is slower than the fastest
        theirs = raw.get_data([name])[0] / (1e-6 if microvolts(signal.dimension) == 1 else 1)
        assert signal.gain is not None
        np.testing.assert_allclose(signal.physical(digital), theirs, rtol=0, atol=abs(signal.gain))
        assert np.abs(signal.physical(digital) - theirs).max() < 1e-6 * abs(signal.gain) * 32768
        compared += 1
    return compared


def test_twenty_files_read_as_mne_reads_them(tmp_path: Path) -> None:
    lay_out(tmp_path / "synthetic", Size(patients=16, hours=16 * 30 / 3600, seed=3))
    made = sorted((tmp_path / "synthetic").rglob("*.edf"))
    assert len(made) + len(REAL) >= 20
    assert len(REAL) >= 3
    assert sum(check_against_mne(path) for path in [*made, *REAL]) > 300


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_of_another_library_read_as_its_own_reader_reads_them(path: Path) -> None:
    header, signals = every_signal(path)
    with pyedflib.EdfReader(str(path)) as theirs:
        for number, label in enumerate(theirs.getSignalLabels()):
            place = [signal.label for signal in header.signals].index(label)
            np.testing.assert_array_equal(signals[place], theirs.readSignal(number, digital=True))


def test_a_file_of_mixed_rates_reads_as_edfio_reads_it(tmp_path: Path) -> None:
    digital = [noise(8, rate, 1, seed)[0] for seed, rate in enumerate((250, 100, 1))]
    (tmp_path / "x.edf").write_bytes(edf_bytes(digital, rate_hz=[250, 100, 1], labels=("A", "B", "C"), seconds=2))
    header, signals = every_signal(tmp_path / "x.edf")
    theirs = edfio.read_edf(tmp_path / "x.edf")
    assert (header.records, header.duration_s) == (4, 8)
    for ours, other in zip(signals, theirs.signals, strict=True):
        np.testing.assert_array_equal(ours, other.digital)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"version": "7"}, Rule.HEADER_BROKEN),
        ({"version": "\xffBIOSEMI"}, Rule.HEADER_BROKEN),
        ({"version": ""}, Rule.HEADER_BROKEN),
        ({"signals": "0"}, Rule.HEADER_BROKEN),
        ({"signals": "-1"}, Rule.HEADER_BROKEN),
        ({"signals": "9999"}, Rule.HEADER_BROKEN),
        ({"signals": "many"}, Rule.HEADER_BROKEN),
        ({"header_bytes": "512"}, Rule.HEADER_BROKEN),
        ({"records": "some"}, Rule.HEADER_BROKEN),
        ({"record_s": "0"}, Rule.HEADER_BROKEN),
        ({"record_s": "-1"}, Rule.HEADER_BROKEN),
        ({"record_s": "nan"}, Rule.HEADER_BROKEN),
        ({"record_s": "1e99"}, Rule.HEADER_BROKEN),
        ({"record_s": "1/3"}, Rule.HEADER_BROKEN),
        ({"signal_samples": "0"}, Rule.HEADER_BROKEN),
        ({"signal_samples": "-5"}, Rule.HEADER_BROKEN),
        ({"signal_samples": "99999999"}, Rule.HEADER_BROKEN),
        ({"signal_samples": "1400000"}, Rule.RECORDS_NONE),
        ({"reserved": "EDF+D"}, Rule.DISCONTINUOUS),
    ],
    ids=str,
)
def test_a_header_that_cannot_be_meant_is_refused_by_name(fields: dict[str, str], rule: Rule) -> None:
    content = edf_bytes(noise(4, 64), **fields)
    with pytest.raises(UnusableError) as caught:
        header_of(content)
    assert caught.value.rule is rule


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 256 * 20 - 1])
def test_a_file_that_ends_in_its_header_is_refused(size: int) -> None:
    with pytest.raises(UnusableError) as caught:
        header_of(edf_bytes(noise(4, 64))[:size])
    assert caught.value.rule is Rule.HEADER_BROKEN


def test_a_header_that_claims_a_gigabyte_allocates_what_is_there(tmp_path: Path) -> None:
    content = edf_bytes(noise(4, 64), records="500000")
    header = header_of(content)
    assert header.records == 4
    assert [rule for rule, _ in header.mended] == [Rule.RECORD_COUNT_WRONG]


@pytest.mark.parametrize("claimed", ["-1", "0", "3", "5"])
def test_a_wrong_number_of_records_is_mended_by_the_size(claimed: str) -> None:
    header = header_of(edf_bytes(noise(4, 64), records=claimed))
    assert (header.records, [rule for rule, _ in header.mended]) == (4, [Rule.RECORD_COUNT_WRONG])


def test_a_cut_file_keeps_its_whole_records() -> None:
    header = header_of(edf_bytes(noise(4, 64))[:-100])
    assert header.records == 3
    assert [rule for rule, _ in header.mended] == [Rule.RECORD_COUNT_WRONG, Rule.BYTES_LEFT_OVER]


def test_colons_in_the_date_are_noted_and_harm_nothing() -> None:
    header = header_of(edf_bytes(noise(4, 64), date="01:01:00"))
    assert [rule for rule, _ in header.mended] == [Rule.DATE_ODD]


@pytest.mark.parametrize(
    "fields",
    [
        {"signal_physical_min": "nan"},
        {"signal_physical_max": "inf"},
        {"signal_physical_min": "3276.7"},
        {"signal_digital_min": "32767"},
        {"signal_digital_max": "-40000"},
        {"signal_physical_max": "1e38"},
        {"signal_physical_max": "x"},
    ],
    ids=str,
)
def test_a_signal_without_a_calibration_is_known_as_such(fields: dict[str, str]) -> None:
    assert {signal.gain for signal in header_of(edf_bytes(noise(4, 64), **fields)).signals} == {None}


def test_records_of_a_fraction_of_a_second_are_exact() -> None:
    header = header_of(edf_bytes(noise(4, 100), rate_hz=100, seconds=0.1))
    assert (header.record_s, header.duration_s) == (Fraction(1, 10), 4)


@settings(max_examples=200)
@given(st.integers(0, 256 * 20 + 500), st.binary(min_size=1, max_size=40))
def test_no_damage_raises_anything_else(at: int, damage: bytes) -> None:
    content = bytearray(edf_bytes(noise(1, 64)))
    content[at : at + len(damage)] = damage
    try:
        stream = io.BytesIO(bytes(content))
        header = read_header(stream, len(content))
        for pieces in read_records(stream, header, range(len(header.signals)), 2):
            assert len(pieces) == len(header.signals)
    except UnusableError:
        pass


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("EEG FP1-REF", "Fp1"), ("EEG FP1-LE", "Fp1"), ("EEG FP1-AR", "Fp1"), ("Fp1", "Fp1"), ("EEG Fp1", "Fp1"),
        ("EEG T7-REF", "T3"), ("EEG T8-LE", "T4"), ("P7", "T5"), ("EEG P8-REF", "T6"), ("EEG T3-REF", "T3"),
        ("EEG CZ-REF", "Cz"), ("EEG FZ - LE", "Fz"), ("eeg pz-ref", "Pz"), ("EEG O2-A1", "O2"),
        ("EEG FP1-F7", None), ("EKG1-REF", None), ("EEG A1-REF", None), ("EDF Annotations", None), ("", None),
        ("EEG ROC-REF", None), ("EEG 20-LE", None), ("PHOTIC-REF", None), ("C3P", None),
    ],
)  # fmt: skip
def test_names_of_hospitals_are_electrodes(label: str, name: str | None) -> None:
    place = place_of(label)
    assert (None if place is None else CHANNELS[place]) == name


def test_of_two_signals_of_an_electrode_the_first_is_taken() -> None:
    picks, odd = choose(["EKG", *LABELS[::-1], "EEG T7-LE"])
    assert picks == tuple(range(19, 0, -1))
    assert [rule for rule, _ in odd] == [Rule.CHANNEL_TWICE]
    picks, odd = choose([label for label in LABELS if "FZ" not in label])
    assert picks[CHANNELS.index("Fz")] is None
    assert odd == ((Rule.CHANNEL_MISSING, "Fz"),)
