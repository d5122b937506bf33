"""The generated corpus: TUSZ's tree, patients in one split each, synthetic wherever it shows, the same each time."""

from __future__ import annotations

import json
import re
from pathlib import Path

import edfio
import numpy as np
import pytest

from tests.support.eeg import ALL, signal_section
from training.eeg.annotations import merged, parse_annotation
from training.eeg.index import SPLITS, read_index
from training.eeg.populate import fill
from training.eeg.synthetic import Size, lay_out, main
from training.eeg.waveforms import draw_person, record

SMALL = Size(patients=7, hours=7 * 60 / 3600, seed=5)
PATH = re.compile(
    r"edf/(train|dev|eval)/(synth\d{3})/s\d{3}_2026/0[123]_tcp_(ar|le|ar_a)/\2_s\d{3}_t000\.(edf|csv|csv_bi)"
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eeg") / "corpus"
    assert lay_out(folder, SMALL)
    return folder


def test_it_lies_as_the_corpus_lies_and_every_name_and_header_says_synthetic(corpus: Path) -> None:
    files = sorted(path.relative_to(corpus).as_posix() for path in corpus.rglob("*") if path.is_file())
    assert [path for path in files if not PATH.fullmatch(path)] == ["README.txt", "SYNTHETIC.json"]
    assert len(files) == 2 + 3 * 7
    assert "SYNTHETIC" in (corpus / "README.txt").read_text()
    for path in corpus.rglob("*.edf"):
        edf = edfio.read_edf(path)
        assert (edf.patient.name, edf.recording.equipment_code) == ("SYNTHETIC", "SYNTHETIC")
        assert {signal.transducer_type for signal in edf.signals} == {"none: synthetic"}


def test_the_index_takes_all_of_it_and_every_split_has_seizures(corpus: Path) -> None:
    index = read_index(corpus)
    assert (len(index.sources), index.left_out, index.notes) == (7, (), ())
    assert {source.split for source in index.sources} == set(SPLITS)
    assert {source.split for source in index.sources if source.events} == set(SPLITS)


def test_csv_and_csv_bi_tell_the_same(corpus: Path) -> None:
    for path in corpus.rglob("*.csv_bi"):
        both = parse_annotation(path.read_bytes(), kind="csv_bi", stem=path.stem)
        channels = parse_annotation(path.with_suffix(".csv").read_bytes(), kind="csv", stem=path.stem)
        assert both == channels
        assert both.duration_s == 60


def test_it_has_the_variety_that_the_cache_must_bear(corpus: Path, tmp_path: Path) -> None:
    rates = {edfio.read_edf(path).signals[0].sampling_frequency for path in corpus.rglob("*.edf")}
    assert rates == {250, 256, 400}
    filled = fill(corpus, tmp_path / "cache", signal_section(), ALL)
    assert filled.synthetic
    assert filled.report["counts"] == {"channel-missing": 2}
    assert {one.duration_s for one in filled.recordings} == {60.0}


def test_a_seizure_stands_out_and_evolves() -> None:
    random = np.random.default_rng(3)
    person = draw_person(random)
    signal = record(person, 120, 256, ((60.0, 110.0),), random)
    assert (signal.shape, signal.dtype) == ((19, 120 * 256), np.float32)
    assert 5 < np.median(signal[:, : 60 * 256].std(1)) < 60
    loudest = signal[:, 80 * 256 : 105 * 256].std(1).argmax()
    early, late = (_peak_hz(signal[loudest, first * 256 : (first + 10) * 256]) for first in (68, 98))
    assert late < early < 8
    assert signal[loudest, 80 * 256 : 105 * 256].std() > 2 * signal[loudest, 10 * 256 : 50 * 256].std()


def _peak_hz(signal: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
    power = np.abs(np.fft.rfft(signal - signal.mean())) ** 2
    frequency = np.fft.rfftfreq(len(signal), 1 / 256)
    power[frequency < 1.2] = 0
    return float(frequency[power.argmax()])


def test_the_same_size_is_the_same_corpus_and_another_seed_another(corpus: Path, tmp_path: Path) -> None:
    lay_out(tmp_path / "again", SMALL)
    lay_out(tmp_path / "other", Size(patients=7, hours=SMALL.hours, seed=6))
    names = [path.relative_to(corpus) for path in sorted(corpus.rglob("*.edf"))]
    assert all((tmp_path / "again" / name).read_bytes() == (corpus / name).read_bytes() for name in names)
    others = [path.read_bytes() for path in sorted((tmp_path / "other").rglob("*.edf"))]
    assert [(corpus / name).read_bytes() for name in names] != others


def test_seizures_lie_within_and_apart(tmp_path: Path) -> None:
    lay_out(tmp_path / "long", Size(patients=3, hours=0.5, seed=1))
    for source in read_index(tmp_path / "long").sources:
        assert source.events == merged(source.events)
        gaps = [after[0] - before[1] for before, after in zip(source.events, source.events[1:], strict=False)]
        assert all(gap > 100 for gap in gaps)
        assert all(0 < start < stop < 600 for start, stop in source.events)


def test_the_command_lays_out_once_and_then_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--out", str(tmp_path / "a/corpus"), "--patients", "3", "--hours", "0.026"]
    assert main(command) == 0
    assert "3 synthetic recordings written" in capsys.readouterr().err
    assert main(command) == 0
    assert "already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["corpus"]
    assert main([*command, "--seed", "2"]) == 2
    assert "is not this synthetic corpus" in capsys.readouterr().err
    next((tmp_path / "a/corpus").rglob("*.csv")).unlink()
    assert main(command) == 2


@pytest.mark.parametrize(
    "size", [["--patients", "2"], ["--hours", "0.01"], ["--hours", "-1"], ["--hours", "1e9"], ["--hours", "nan"]]
)
def test_a_size_that_is_none_is_refused(tmp_path: Path, size: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "x"), *size]) == 2
    assert "cannot be generated" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_else_is_there_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "SYNTHETIC.json").write_text(json.dumps([1]))
    assert main(["--out", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["SYNTHETIC.json"]
