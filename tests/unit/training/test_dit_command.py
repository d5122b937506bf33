"""The command and the gallery: a record, grids, a model; pictures of a finished run, and what a judge says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.training import SMALL_DIT, arguments, small_config, small_folder
from training.classifier.__main__ import main as classify
from training.dit.__main__ import main as train
from training.dit.gallery import main as gallery
from trimtab.storage.runs import read_run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results with a finished run `drawn` of the transformer, and a finished run `judge` of the classifier."""
    place = tmp_path_factory.mktemp("dit")
    folder, results = small_folder(place / "digits"), place / "results"
    dit = small_config(place / "dit.yaml", SMALL_DIT, pictures={"unreadable": "skip"})
    (folder / "train" / "1" / "broken.png").write_bytes(b"no picture")
    assert train([*arguments(dit, folder, results), "--run-id", "drawn"]) == 0
    (folder / "train" / "1" / "broken.png").unlink()
    judge = small_config(place / "judge.yaml", optimisation={"epochs": 2})
    assert classify([*arguments(judge, folder, results), "--run-id", "judge"]) == 0
    return results


def asked(results: Path, *words: str) -> list[str]:
    return ["--results", str(results), "--run-id", "drawn", *words]


def test_a_training_leaves_a_record_a_model_and_grids_over_the_steps(results: Path) -> None:
    record = read_run(results, "drawn")
    assert record is not None
    assert (record.job, record.outcome) == ("dit", "finished")
    assert [epoch.step for epoch in record.epochs] == [8, 16, 24, 32, 40, 48]
    assert {item.name for item in record.artifacts} == {"model.pt", "samples.png", "curves.svg"}
    assert record.final is not None
    assert record.final["left_out"] == {"no sound picture": 1}
    run = results / record.run_directory
    assert sorted(path.name for path in (run / "samples").iterdir()) == [
        f"step-{step:09d}.png" for step in range(8, 49, 8)
    ]
    with Image.open(run / "samples.png") as first, Image.open(run / "samples" / "step-000000048.png") as last:
        assert first.tobytes() == last.tobytes()


def test_the_same_command_after_it_finished_does_nothing(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_folder(tmp_path / "digits")
    (folder / "train" / "1" / "broken.png").write_bytes(b"no picture")
    config = small_config(tmp_path / "dit.yaml", SMALL_DIT, pictures={"unreadable": "skip"})
    assert train([*arguments(config, folder, results), "--run-id", "drawn"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["outcome"] == "already finished"
    assert "warning: 1 skipped, no sound picture: train/1/broken.png" in err


def test_a_gallery_is_the_same_picture_for_the_same_seed(results: Path, tmp_path: Path) -> None:
    pictures = []
    for number, words in enumerate(((), (), ("--seed", "2"), ("--classes", "2,0", "--per-class", "3"))):
        path = tmp_path / "new" / f"{number}.png"
        assert gallery(asked(results, "--out", str(path), *words)) == 0
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
    with Image.open(tmp_path / "new" / "0.png") as whole, Image.open(tmp_path / "new" / "3.png") as some:
        assert (whole.size, some.size) == ((8 * 50 - 2, 3 * 50 - 2), (3 * 50 - 2, 2 * 50 - 2))


def test_a_judge_says_for_each_class_how_many_it_recognises(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = ("--judge", str(results), "--judge-run-id", "judge", "--json", "--per-class", "20")
    assert gallery(asked(results, "--out", str(tmp_path / "a.png"), *judged)) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(told["recognised"]) == {"0", "1", "2"}
    assert all(0 <= part <= 1 for part in told["recognised"].values())
    some = sum(told["recognised"].values()) / 3
    # A network of a few steps draws clouds: a judge that tells three classes says each of something, and not all right.
    assert some < 1
    assert gallery(asked(results, "--out", str(tmp_path / "a.png"), *judged, "--at-least", "1")) == 7
    assert "not drawn well enough" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--run-id", "tpyo"), "has no record of it"),
        (("--run-id", "judge"), "it is a run of the job classifier"),
        (("--classes", "7"), "cannot draw 7"),
        (("--judge", "{results}", "--judge-run-id", "drawn"), "it is a run of the job dit"),
    ],
)
def test_what_cannot_be_drawn_or_judged_is_said_with_exit_code_2(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    given = [word.format(results=results) for word in words]
    assert gallery([*asked(results, "--out", str(tmp_path / "a.png")), *given]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "next: " in error


def test_a_model_that_was_damaged_is_not_drawn_with(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_run(results, "drawn")
    assert record is not None
    model = results / record.run_directory / "model.pt"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + b"?")
    try:
        assert gallery(asked(results, "--out", str(tmp_path / "a.png"))) == 2
    finally:
        model.write_bytes(whole)
    assert "missing or damaged" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
