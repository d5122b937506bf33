"""The job eeg as its user calls it: EDF files in, a record, weights, scores, pictures and predictions out."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring

from tests.support.made_up_eeg import small_config
from training.eeg import evaluate, mamba_cuda
from training.eeg.__main__ import main
from training.eeg.annotations import parse_annotation
from training.eeg.synthetic import Size, lay_out
from trimtab.storage.runs import read_run

FIT: dict[str, Any] = {"optimisation": {"epochs": 2}, "windows": {"length_s": 30.0}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "data"
    lay_out(folder, Size(patients=5, hours=0.25, seed=2))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, Path]:
    """Return the configuration and the results of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    config, results = small_config(folder / "config.yaml", **FIT), folder / "results"
    assert main(["--config", str(config), "--data", str(data), "--results", str(results), "--run-id", "r1"]) == 0
    return config, results


def arguments(config: Path, data: Path, results: Path) -> list[str]:
    return ["--config", str(config), "--data", str(data), "--results", str(results)]


def measured(
    config: Path, data: Path, results: Path, *more: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Any], str]:
    code = evaluate.main([*arguments(config, data, results), "--json", *more])
    captured = capsys.readouterr()
    return code, json.loads(captured.out or "{}"), captured.err


def test_a_training_leaves_a_record_with_scores_and_files(trained: tuple[Path, Path]) -> None:
    record = read_run(trained[1], "r1")
    assert record is not None
    assert record.outcome == "finished"
    assert [epoch.step for epoch in record.epochs] == sorted(epoch.step for epoch in record.epochs)
    assert set(record.epochs[0].metrics) == {
        "train_loss", "val_loss", "val_average_precision", "val_event_f1", "val_false_alarms_per_day", "learning_rate",
    }  # fmt: skip
    assert record.final is not None
    assert record.final["synthetic"] is True
    assert record.final["thresholds"] == {"upper": 0.8, "lower": 0.5, "minimum_s": 4.0, "merge_s": 2.0}
    names = {artifact.name for artifact in record.artifacts}
    assert names == {
        "model.pt", "evaluation/scores.json", "evaluation/sweep.svg", "evaluation/strip.png",
        "evaluation/events.tsv", "evaluation/probabilities.npz",
    }  # fmt: skip


def test_the_cache_lies_below_the_results_and_nothing_is_written_to_the_data(
    trained: tuple[Path, Path], data: Path
) -> None:
    assert list((trained[1] / "cache" / "eeg").rglob("*.eeg"))
    assert {path.suffix for path in data.rglob("*") if path.is_file()} == {".edf", ".csv", ".csv_bi", ".txt", ".json"}


def test_a_finished_training_is_not_repeated(
    trained: tuple[Path, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(trained[0], data, trained[1]), "--run-id", "r1"]) == 0
    captured = capsys.readouterr()
    assert "was finished already" in captured.out
    assert "event F1" in captured.out
    assert "synthetic" in captured.out


def test_measuring_the_run_again_gives_its_scores(
    trained: tuple[Path, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, results = trained
    code, found, _ = measured(config, data, results, "--run-id", "r1", capsys=capsys)
    record = read_run(results, "r1")
    assert code == 0
    assert record is not None
    assert record.final is not None
    assert {key: record.final[key] for key in found if key in record.final} == {
        key: value for key, value in found.items() if key in record.final
    }
    assert (found["files"], found["trained_on_this_corpus"]) == ("evaluations/eeg/r1/eval", True)
    ours = {path.name: path.read_bytes() for path in (results / found["files"]).rglob("*") if path.is_file()}
    theirs = {
        Path(artifact.name).name: (results / artifact.path).read_bytes()
        for artifact in record.artifacts
        if artifact.name.startswith("evaluation/")
    }
    assert ours == theirs


def test_another_split_and_other_thresholds_can_be_measured(
    trained: tuple[Path, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path / "config.yaml", **FIT, detection={"upper": 0.3, "lower": 0.2})
    code, found, _ = measured(config, data, trained[1], "--run-id", "r1", "--split", "dev", capsys=capsys)
    assert code == 0
    assert (found["split"], found["thresholds"]["upper"]) == ("dev", 0.3)


def test_other_thresholds_are_measured_on_what_was_predicted_without_the_network(
    trained: tuple[Path, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path / "config.yaml", **FIT, detection={"upper": 0.3, "lower": 0.2})
    results = tmp_path / "results"
    shutil.copytree(trained[1], results)
    _, expected, _ = measured(config, data, results, "--run-id", "r1", capsys=capsys)
    files = contents(results / expected["files"])
    shutil.rmtree(results / "evaluations")
    next(results.rglob("model.pt")).unlink()
    for _ in range(2):  # what the run left, and then what this left
        code, found, _ = measured(config, data, results, "--run-id", "r1", "--predicted", capsys=capsys)
        assert code == 0
        assert found == expected
        assert contents(results / found["files"]) == files


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("changes", "more", "said"),
    [
        ({"detection": {"stride_s": 5}}, [], "it was predicted with another stride_s"),
        ({}, ["--split", "train"], "it was predicted with another split"),
        ({"detection": "damaged"}, [], "holds no probabilities"),
    ],
)
def test_predictions_of_something_else_are_refused_with_the_cause(
    changes: dict[str, Any],
    more: list[str],
    said: str,
    trained: tuple[Path, Path],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = tmp_path / "results"
    shutil.copytree(trained[1], results)
    if changes.get("detection") == "damaged":
        for packed in results.rglob("probabilities.npz"):
            packed.write_bytes(packed.read_bytes()[:-30])
        changes = {}
    config = small_config(tmp_path / "config.yaml", **FIT, **changes)
    code, _, err = measured(config, data, results, "--run-id", "r1", "--predicted", *more, capsys=capsys)
    assert code == 2
    assert said in err


def test_the_table_of_events_gives_timescoring_the_scores_of_the_run(trained: tuple[Path, Path], data: Path) -> None:
    record = read_run(trained[1], "r1")
    assert record is not None
    assert record.final is not None
    folder = trained[1] / record.run_directory / "evaluation"
    rows = list(csv.DictReader((folder / "events.tsv").read_text().splitlines(), delimiter="\t"))
    of: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        of.setdefault(row["recording"], []).append(row)
    assert len(of) == record.final["recordings"]
    assert {row["source"] for row in rows} == {"synthetic"}
    true = found = false = 0
    for path, mine in of.items():
        (duration_s,) = {float(row["recordingDuration"]) for row in mine}
        spans = [(float(row["onset"]), float(row["duration"])) for row in mine if row["eventType"] == "sz"]
        labels = (data / "edf" / path).with_suffix(".csv_bi")
        truth = parse_annotation(labels.read_bytes(), kind="csv_bi", stem=labels.stem).events
        scored = EventScoring(
            Annotation(list(truth), 10, round(duration_s * 10)),
            Annotation([(onset, onset + duration) for onset, duration in spans], 10, round(duration_s * 10)),
        )
        true, found, false = true + scored.refTrue, found + scored.tp, false + scored.fp
    assert record.final["events"] == {"true": true, "found": found, "false": false}


@pytest.mark.parametrize(
    ("changes", "more", "said"),
    [
        ({}, ["--run-id", "nobody"], "has no record of it"),
        ({"network": {"width": 4}}, ["--run-id", "r1"], "they were trained with another network"),
        ({"seed": 8}, [], "cannot be measured"),  # without an id, configuration and data name a run that never was
    ],
)
def test_a_run_that_cannot_be_measured_is_refused_with_the_cause(
    changes: dict[str, Any],
    more: list[str],
    said: str,
    trained: tuple[Path, Path],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = small_config(tmp_path / "config.yaml", **{**FIT, **changes})
    code, _, err = measured(config, data, trained[1], *more, capsys=capsys)
    assert code == 2
    assert said in err


def test_weights_that_are_damaged_are_named(
    trained: tuple[Path, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    shutil.copytree(trained[1], results)
    next(results.rglob("model.pt")).write_bytes(b"no weights")
    code, _, err = measured(trained[0], data, results, "--run-id", "r1", capsys=capsys)
    assert code == 2
    assert "model.pt cannot be loaded" in err


@pytest.mark.parametrize(("data_is", "said"), [("missing", "missing"), ("empty", "empty")])
def test_data_that_is_not_there_stops_at_once(
    data_is: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if data_is == "empty":
        (tmp_path / "empty").mkdir()
    code = main(arguments(small_config(tmp_path / "config.yaml"), tmp_path / data_is, tmp_path / "results"))
    assert code == 2
    assert said in capsys.readouterr().err


def test_the_kernels_check_is_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert mamba_cuda.main() == 0
    assert json.loads(capsys.readouterr().out)["outcome"] in ("equal", "not compared")
