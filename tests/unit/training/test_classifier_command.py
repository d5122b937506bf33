"""The command: results on stdout, progress on stderr, a record, and the right exit code for whatever is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.support.training import final_state, small_config, small_folder
from training.classifier.__main__ import main
from training.classifier.network import SmallCnn
from trimtab.storage.checkpoints import open_store
from trimtab.storage.manifests import sha256_of
from trimtab.storage.retention import Retention
from trimtab.storage.runs import list_runs, read_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_folder(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture
def arguments(tmp_path: Path, data: Path) -> list[str]:
    config = small_config(tmp_path / "config.yaml", optimisation={"epochs": 2})
    return ["--config", str(config), "--data", str(data), "--results", str(tmp_path / "results")]


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_training_ends_with_a_result_a_record_and_a_model(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run([*arguments, "--run-id", "r1", "--commit", "abc", "--json"], capsys)
    result: dict[str, Any] = json.loads(out)
    assert code == 0
    assert set(result) == {
        "outcome", "run_id", "job", "resumed_from_step", "last_step",
        "record", "run_directory", "epochs", "final", "artifacts",
    }  # fmt: skip
    assert (result["outcome"], result["run_id"], result["job"]) == ("finished", "r1", "classifier")
    assert (result["resumed_from_step"], result["last_step"]) == (None, 16)
    assert [(epoch["epoch"], epoch["step"]) for epoch in result["epochs"]] == [(1, 8), (2, 16)]
    assert set(result["epochs"][0]["metrics"]) == {"train_loss", "val_loss", "val_accuracy", "learning_rate"}
    final = result["final"]
    assert set(final) == {
        "test_accuracy", "test_loss", "best_epoch", "val_loss", "steps", "classes", "confusion", "left_out",
    }  # fmt: skip
    assert final["test_accuracy"] == sum(row[index] for index, row in enumerate(final["confusion"])) / 12

    record = read_run(tmp_path / "results", "r1")
    assert record is not None
    assert (record.commit, record.outcome, record.final) == ("abc", "finished", final)
    model, *pictures = record.artifacts
    assert [item.name for item in pictures] == ["confusion.svg", "curves.svg"]
    path = tmp_path / "results" / model.path
    assert path.parent == tmp_path / "results" / result["run_directory"]
    assert sha256_of(path) == model.sha256
    network = SmallCnn(channels=1, classes=3, width=4, dropout=0.2)
    network.load_state_dict(torch.load(path, weights_only=True))
    lines = err.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "epoch", "epoch", "test"]
    assert "\r" not in err


def test_results_inside_the_data_are_refused_and_nothing_is_written(
    arguments: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(data.rglob("*"))
    code, out, err = run([*arguments[:-1], str(data / "results")], capsys)
    assert (code, out) == (2, "")
    assert "inside the data" in err
    assert sorted(data.rglob("*")) == before


def test_the_same_command_after_it_finished_does_nothing_and_says_so(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, capsys)[0] == 0
    code, out, err = run(arguments, capsys)
    assert (code, err) == (0, "")
    assert "finished already" in out
    assert "nothing was done" in out
    code, out, _ = run([*arguments, "--json"], capsys)
    assert json.loads(out)["outcome"] == "already finished"


def test_a_finished_run_whose_model_was_lost_makes_it_again_the_same(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(arguments, capsys)
    (record,), _ = list_runs(tmp_path / "results")
    model = tmp_path / "results" / record.artifacts[0].path
    model.unlink()
    code, out, _ = run([*arguments, "--json"], capsys)
    assert (code, json.loads(out)["resumed_from_step"]) == (0, 16)
    assert sha256_of(model) == record.artifacts[0].sha256


def test_without_a_run_id_configuration_and_data_name_the_run(
    tmp_path: Path, arguments: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = set()
    small_config(tmp_path / "other.yaml", optimisation={"epochs": 2}, seed=8)
    shutil.copytree(data, tmp_path / "other")
    next((tmp_path / "other" / "train" / "0").iterdir()).unlink()
    for changes in ([], [], ["--config", str(tmp_path / "other.yaml")], ["--data", str(tmp_path / "other")]):
        names.add(json.loads(run([*arguments, "--json", *changes], capsys)[1])["run_id"])
    assert len(names) == 3


def test_a_run_does_not_go_on_with_another_configuration_or_other_data(
    tmp_path: Path, arguments: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [*arguments, "--run-id", "r1"]
    assert run(named, capsys)[0] == 0
    other = small_config(tmp_path / "other.yaml", optimisation={"epochs": 3}, seed=8)
    code, _, err = run([*named, "--config", str(other)], capsys)
    assert code == 2
    assert "another configuration (optimisation, seed)" in err
    shutil.copytree(data, tmp_path / "data")
    next((tmp_path / "data" / "train" / "0").iterdir()).unlink()
    code, _, err = run([*named, "--data", str(tmp_path / "data")], capsys)
    assert code == 2
    assert "other data" in err
    (tmp_path / "results" / "runs" / "r1.json").unlink()  # the checkpoints know it, too
    code, _, err = run([*named, "--config", str(other)], capsys)
    assert code == 2
    assert "config_sha256" in err


def test_resume_without_a_run_is_an_error_that_begins_nothing(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run([*arguments, "--run-id", "tpyo", "--resume"], capsys)
    assert code == 2
    assert "no run tpyo to resume" in err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--config", "/nowhere/config.yaml"], "/nowhere/config.yaml cannot be read"),
        (["--data", "/nowhere"], "/nowhere/train cannot be used"),
        (["--run-id", "../r1"], "is not a run id"),
    ],
)
def test_what_is_wrong_is_said_in_three_parts_with_exit_code_2(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str], changes: list[str], said: str
) -> None:
    code, out, err = run([*arguments, *changes], capsys)
    assert (code, out) == (2, "")
    assert said in err
    assert "why: " in err
    assert "next: " in err
    assert not (tmp_path / "results").exists()


def test_results_that_cannot_be_written_are_named(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").write_text("a file")
    code, _, err = run(arguments, capsys)
    assert code == 4
    assert "results" in err


def test_a_failed_training_is_recorded_with_its_cause(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    wild = small_config(tmp_path / "wild.yaml", optimisation={"learning_rate": 1e30, "warmup_steps": 0})
    code, out, err = run([*arguments, "--config", str(wild)], capsys)
    assert (code, out) == (7, "")
    assert "the loss is" in err
    (record,), _ = list_runs(tmp_path / "results")
    assert record.outcome == "failed"
    assert record.attempts[0].message is not None
    assert "learning rate" in record.attempts[0].message


def test_pictures_in_two_splits_are_warned_of(
    tmp_path: Path, arguments: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, tmp_path / "data")
    shutil.copy(next((tmp_path / "data" / "train" / "0").iterdir()), tmp_path / "data" / "test" / "0" / "copy.png")
    code, _, err = run([*arguments, "--data", str(tmp_path / "data")], capsys)
    assert code == 0
    assert "warning: 1 pictures are in more than one split" in err


def test_a_damaged_checkpoint_is_set_aside_with_a_word_and_the_one_before_is_used(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run(arguments, capsys)
    (record,), _ = list_runs(tmp_path / "results")
    directory = tmp_path / "results" / record.run_directory
    (directory / "model.pt").unlink()
    newest = max(directory.glob("step-*"))
    (newest / "state.pt").write_bytes((newest / "state.pt").read_bytes()[:-1])
    code, out, err = run([*arguments, "--json"], capsys)
    assert code == 0
    assert f"set aside {newest}.broken" in err
    assert json.loads(out)["resumed_from_step"] == 15
    assert json.loads(out)["artifacts"][0]["sha256"] == record.artifacts[0].sha256


@pytest.mark.parametrize("missing", ["loss_sum", "network", "config_sha256"])
def test_a_checkpoint_of_another_version_is_told_from_a_damaged_one(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    run(arguments, capsys)
    (record,), _ = list_runs(tmp_path / "results")
    directory = tmp_path / "results" / record.run_directory
    (directory / "model.pt").unlink()
    state = final_state(directory)
    del state[missing]
    with open_store(directory, run_id=record.run_id, retention=Retention()) as store:
        store.save(99, {"state.pt": lambda stream: torch.save(state, stream)})
    code, _, err = run(arguments, capsys)
    assert code == 2
    assert "another version of this program" in err
    assert (directory / "step-000000099").is_dir()


def test_signals_are_given_back_afterwards(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(arguments, capsys)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_interrupts_while_it_still_reads_is_heard_at_once(
    tmp_path: Path, root: Path, arguments: list[str], number: signal.Signals, expected: int
) -> None:
    os.mkfifo(tmp_path / "slow.yaml")  # whoever reads it waits for a writer: here, for ever
    argv = (sys.executable, "-m", "training.classifier", *arguments, "--config", str(tmp_path / "slow.yaml"))
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    with (
        subprocess.Popen(argv, cwd=root, env=environment, stderr=subprocess.PIPE) as process,
        (tmp_path / "slow.yaml").open("w"),  # it opens once it is being read
    ):
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == expected
    assert said.decode() == "interrupted before its first step; the same command begins again\n"
    assert not (tmp_path / "results").exists()


def test_the_payload_imports_no_cloud_client(root: Path) -> None:
    check = (
        "import sys, training.classifier.__main__, training.classifier.job, training.classifier.digits,"
        "training.harness.attempt;"
        "sys.exit(' '.join({'boto3', 'botocore', 'modal', 'pulumi', 'docker', 'click'} & set(sys.modules)) or 0)"
    )
    environment = {"PYTHONPATH": f"{root / 'src'}:{root}"}
    subprocess.run([sys.executable, "-W", "error", "-c", check], check=True, env=environment)
