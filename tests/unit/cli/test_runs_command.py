"""`trimtab runs` and the words of `trimtab train` on a project of its own, with no Modal and no bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Ended, environment, trimtab, write_project
from tests.support.registry_of_runs import RESOURCES, attempt, launch, record
from trimtab.storage.launches import write_launch
from trimtab.storage.runs import Epoch, write_run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


def run(project: Path, *words: str) -> Ended:
    return trimtab(*words, cwd=project, env=environment(MODAL_CONFIG_PATH=str(project / "none.toml")))


@pytest.fixture
def two(project: Path) -> Path:
    results = project / ".trimtab" / "results"
    epochs = (Epoch(epoch=1, step=30, metrics={"val_loss": 0.25}),)
    write_run(results, record("r1", attempt(0, 61, last_step=30), epochs=epochs, final={"test_accuracy": 0.5}))
    write_run(results, record("r2", attempt(90, 100, last_step=9, call=None), config={"seed": 2}))
    write_launch(results, launch())
    return project


def test_runs_alone_is_runs_list_and_a_broken_record_hides_none(two: Path) -> None:
    (two / ".trimtab" / "results" / "runs" / "torn.json").write_text("{")
    listed = run(two, "runs", "--json")

    assert [one["run_id"] for one in listed.document["runs"]] == ["r2", "r1"]
    assert "torn.json" in listed.document["unreadable"][0]
    assert "passed over: " in listed.err
    assert listed.document["runs"][1]["cost"]["usd"] == pytest.approx(6.1)
    assert run(two, "runs", "list", "--job", "gulls", "--json").document["runs"] == []
    assert "test_accuracy 0.5000" in run(two, "runs").out


def test_a_run_is_shown_with_what_it_cost_beside_what_was_predicted(two: Path) -> None:
    shown = run(two, "runs", "show", "r1")

    assert "r1 (tides), finished" in shown.out
    assert "1 x A100-80GB, 32 cores, 128 GiB, 6.000 $/h" in shown.out
    assert "6.10 $ for 1 h 01 min, predicted 6.00 $ (5.00 $ to 9.00 $)" in shown.out
    assert "trimtab runs fetch r1" in shown.out
    assert "trimtab runs follow" not in shown.out  # it is over


def test_runs_are_compared_by_what_differs(two: Path) -> None:
    document = run(two, "runs", "compare", "r1", "r2", "--json").document

    assert document["differing"]["config.seed"] == [1, 2]
    assert document["measured"]["val_loss"] == [0.25, None]
    assert document["measured"]["steps"] == [30, 9]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("runs", "show", "r3"), "there is no run r3"),
        (("runs", "compare", "r1"), "one run is compared with nothing"),
        (("runs", "compare", "r1", "r3"), "there is no run r3"),
        (("runs", "list", "--on", "modal"), "there is no Modal to ask"),
        (("runs", "stop", "r1"), "there is no Modal to ask"),
        (("runs", "follow", "r1"), "there is no Modal to ask"),
        (("runs", "fetch", "r1"), "lies here already"),
        (("train", "tides", "--max-usd", "3"), "--max-usd means nothing on this machine"),
        (("train", "tides", "--profile", "debug"), "--profile means nothing on this machine"),
        (("train", "tides", "--wait"), "--wait means nothing on this machine"),
        (("train", "tides", "--label", "a", "--run-id", "b"), "--label and --run-id say two things"),
        (("train", "tdies", "--on", "modal"), "did you mean 'tides'?"),
    ],
)
def test_what_is_wrong_is_said_and_ends_with_2(two: Path, words: tuple[str, ...], said: str) -> None:
    ended = run(two, *words)

    assert ended.code == 2, ended.err
    assert said in ended.err


def test_without_a_token_nothing_is_launched_and_the_way_to_one_is_told(two: Path) -> None:
    folder = two / "deploy" / "modal"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "resources.py").write_text(RESOURCES)
    (two / "tides.yaml").write_text("seed: 1\n")
    ended = run(two, "train", "tides", "--on", "modal", "--config", "tides.yaml")

    assert ended.code == 2
    assert "Modal does not know who asks" in ended.err
    assert "modal token new" in ended.err
