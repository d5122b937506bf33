"""Every function of deploy/modal/app.py runs, in small: the real client, data through the mounts of the jobs' roles.

Attempts are processes in namespaces of their own, on this machine's packages: what is tried here is what a container
is given and what comes back, not how an image is built (test_modal_training.py builds one).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.modal.functions import load_functions
from tests.support.modal_plane import ModalPlane, embedded_modal, wait_until
from tests.support.tiny_encoder import described, tiny_onnx
from tests.support.training import SMALL_DIT, small_config, small_folder
from trimtab.catalogue import load_catalogue
from trimtab.emulation import aws
from trimtab.emulation.bucket import EmbeddedBucket
from trimtab.emulation.modal import bucket_mount
from trimtab.errors import ProgramError
from trimtab.process import ProcessRunner
from trimtab.project import Project as DeskProject
from trimtab.steps.modal_client import NOTED
from trimtab.steps.provision import EMBEDDED_STACK
from trimtab.steps.training import Train, TrainingHandler
from trimtab.storage.checkpoints import published
from trimtab.storage.datasets import push
from trimtab.storage.objects import Place
from trimtab.storage.runs import read_run

pytestmark = [
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(bucket_mount.missing() is not None, reason=str(bucket_mount.missing())),
]
ROOT: Final = Path(__file__).resolve().parents[2]
APP: Final = ROOT / "deploy" / "modal" / "app.py"
CATALOGUE: Final = load_catalogue(ROOT / "trimtab.yaml")
EEG: Final = "eeg"


@dataclass(frozen=True, kw_only=True)
class Project:
    """A plane beside an embedded AWS with the catalogue's bucket and roles; `data` pushes a job's data set."""

    plane: ModalPlane
    folder: Path

    def data(self, job: str, tree: Path) -> None:
        running = aws.status(self.folder / "state" / "aws")
        assert running is not None
        place = Place(bucket=CATALOGUE.bucket_name("dev"), prefix=CATALOGUE.jobs[job].data)
        push(running.operator_client("s3", region=CATALOGUE.aws.region), tree, place)

    def run(self, *words: str | Path, code: int = 0) -> list[dict[str, Any]]:
        """Launch, and return the documents that were printed: what was called, and its result."""
        said = self.plane.cli("run", *words, code=code)
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    def trimtab(self, *words: str) -> dict[str, Any]:
        """Ask the toolkit, with the client on this plane; return what it answers."""
        argv = (sys.executable, "-m", "trimtab", *words, "--json")
        done = subprocess.run(argv, env=self.plane.environment(), cwd=ROOT, check=True, capture_output=True, text=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def refused(self, *words: str | Path, code: int, env: dict[str, str] | None = None) -> str:
        """Launch something wrong: return what is said, once it is known that the plane heard nothing of it."""
        apps = len(self.plane.record()["apps"])
        said = self.plane.cli("run", *words, code=code, env=env)
        assert len(self.plane.record()["apps"]) == apps
        assert "Traceback" not in said
        return said

    def volume(self) -> Path:
        (volume,) = (self.plane.running.state_dir / "volumes").glob("*/head")
        return volume


def config_of(path: Path, *, epochs: int) -> Path:
    """Write a configuration that saves only where an epoch ends: each save is copied to the bucket."""
    return small_config(path, optimisation={"epochs": epochs}, checkpoints={"every_steps": 1000})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("functions")
    state = folder / "state"
    up = (sys.executable, "-m", "trimtab", "infra", "up", "--embedded", "--json")
    subprocess.run(up, env={**os.environ, "TRIMTAB_STATE": str(state)}, cwd=ROOT, check=True, capture_output=True)
    identity = {"workspace": CATALOGUE.modal.workspace, "environment": CATALOGUE.modal.environment}
    try:
        with embedded_modal(folder, aws_state_dir=state / "aws", runner="namespace", **identity) as plane:
            plane.env["TRIMTAB_STATE"] = str(state)
            yield Project(plane=plane, folder=folder)
    finally:
        aws.stop(state / "aws")


@pytest.fixture(scope="module")
def corpus(project: Project) -> Path:
    """Push a small synthetic corpus; return the smallest configuration for it."""
    tree = project.folder / "corpus"
    words = ("--out", tree, "--patients", "6", "--hours", "0.1")
    subprocess.run((sys.executable, "-m", "training.eeg.synthetic", *words), cwd=ROOT, check=True, capture_output=True)
    project.data(EEG, tree)
    return ROOT / "configs" / "local" / "eeg-smoke.yaml"


@pytest.fixture(scope="module")
def pictures(project: Project) -> Path:
    """Push a part of the digits; return a configuration that trains on them in a second."""
    project.data("classifier", small_folder(project.folder / "digits"))
    return config_of(project.folder / "classifier.yaml", epochs=2)


def test_a_test_without_a_gpu_says_so_plainly(project: Project) -> None:
    called, result = project.run(APP, "--action", "test-mamba")
    assert (called["function"], called["profile"]) == ("test_mamba_cuda", "test")
    assert result["outcome"] == "not compared"
    assert "no GPU here" in result["why"]


def test_the_cache_is_populated_in_parts(project: Project, corpus: Path) -> None:
    called, whole = project.run(f"{APP}::populate_cache", "--config-path", corpus)
    assert called["function"] == "populate_cache"
    assert whole["recordings"] > 0
    assert any((project.volume() / "cache" / EEG).rglob("*"))


def test_both_forms_of_the_seeds_train_the_same_run_and_it_is_evaluated(
    project: Project, corpus: Path, tmp_path: Path
) -> None:
    called, first = project.run(APP, "--action", "train", "--config", corpus, "--run-id", "tides")
    assert (called["function"], called["run_id"], first["outcome"]) == ("train", "tides", "finished")
    _, second = project.run("--detach", f"{APP}::train", "--config-path", corpus, "--run-id", "tides", "--resume")
    assert second["outcome"] == "already finished"
    assert second["record"]["final"] == first["record"]["final"]
    _, scores = project.run(APP, "--action", "evaluate", "--config", corpus, "--run-id", "tides", "--results", tmp_path)
    assert scores["run_id"] == "tides"
    assert (tmp_path / scores["files"] / "events.tsv").is_file()


def test_a_smoke_run_has_a_machine_of_its_own(project: Project, corpus: Path) -> None:
    called, result = project.run(APP, "--action", "smoke", "--config", corpus, "--run-id", "smoke")
    assert (called["machine"]["gpu"], result["outcome"]) == ("T4", "finished")


def test_the_transformer_draws_what_the_classifier_learns(project: Project, pictures: Path) -> None:
    assert pictures.is_file()  # so the digits are there: both jobs read the same prefix
    config = small_config(project.folder / "dit.yaml", SMALL_DIT, checkpoints={"every_steps": 1000})
    called, result = project.run(APP, "--action", "dit", "--config", config, "--run-id", "drawn")
    assert (called["machine"]["gpu"], result["outcome"]) == ("A10", "finished")


def test_copies_are_found_among_pictures(project: Project) -> None:
    tree = small_folder(project.folder / "copies")
    (tree / "test" / "0" / "copy.png").write_bytes(next((tree / "train" / "0").glob("*.png")).read_bytes())
    how = described(tree / "encoders", "onnx", tiny_onnx()[0], pool="none")
    project.data("dedup", tree)
    _, result = project.run(APP, "--action", "dedup", "--run-id", "copies")
    assert result["outcome"] == "finished"
    assert result["record"]["final"]
    content = yaml.safe_load((ROOT / "configs" / "local" / "dedup.yaml").read_text())
    content["embedding"]["manifest"] = how.manifest
    path = project.folder / "dedup-onnx.yaml"
    path.write_text(yaml.safe_dump(content))
    called, result = project.run(APP, "--action", "dedup", "--config", path, "--profile", "dedup-cpu")
    assert (called["machine"]["gpu"], result["outcome"]) == ("", "finished")
    assert result["record"]["final"]["encoder"] == "small"


def test_a_run_at_its_cap_is_saved_and_goes_on_with_a_higher_one_to_the_bucket_and_to_the_desk(
    project: Project, pictures: Path, tmp_path: Path
) -> None:
    words = (APP, "--job", "classifier", "--config", pictures, "--run-id", "gulls")
    usd_per_s = 0.59 / 3600 + 4 * 0.0000131 + 16 * 0.00000222  # a T4 with 4 cores and 16 GiB
    assert "nothing was started" in project.refused(*words, "--max-usd", f"{59 * usd_per_s:.6f}", code=6)
    called, first = project.run(*words, "--max-usd", f"{61 * usd_per_s:.6f}")  # of which saving in time takes all
    assert (called["profile"], first["outcome"]) == ("classifier", "capped")
    called, second = project.run(*words, "--max-usd", "1", "--resume", "--profile", "cpu", "--results", tmp_path)
    assert (called["profile"], second["outcome"]) == ("cpu", "finished")
    shown = project.trimtab("runs", "show", "gulls", "--on", "modal")
    assert [launch["max_usd"] for launch in shown["launches"]] == [1.0, pytest.approx(61 * usd_per_s, rel=1e-3)]
    assert all(launch["usd"] > 0 for launch in shown["cost"]["launches"])
    assert [attempt["outcome"] for attempt in second["record"]["attempts"]] == ["interrupted", "finished"]
    assert (tmp_path / second["record"]["run_directory"] / "model.pt").is_file()
    assert (tmp_path / "runs" / "gulls.json").is_file()
    running = aws.status(project.folder / "state" / "aws")
    assert running is not None
    listed = running.operator_client("s3", region=CATALOGUE.aws.region).list_objects_v2(
        Bucket=CATALOGUE.bucket_name("dev"), Prefix=CATALOGUE.jobs["classifier"].results
    )
    assert any("gulls" in item["Key"] for item in listed["Contents"])


def test_a_run_whose_volume_was_deleted_comes_back_from_its_copy_in_the_bucket(
    project: Project, pictures: Path, tmp_path: Path
) -> None:
    words = (APP, "--job", "classifier", "--config", pictures, "--profile", "cpu")
    _, first = project.run(*words, "--run-id", "terns")
    assert first["outcome"] == "finished"
    project.plane.cli("volume", "delete", CATALOGUE.modal.results_volume, "--yes")
    _, second = project.run(*words, "--run-id", "terns", "--results", tmp_path)
    assert second["outcome"] == "already finished"
    assert second["record"] == first["record"]
    checkpoints = published(tmp_path / first["record"]["run_directory"])
    assert [item.damage() for item in checkpoints] == [None, None]
    assert all((tmp_path / item["path"]).is_file() for item in first["record"]["artifacts"])


def test_an_attempt_whose_time_is_nearly_up_saves_and_the_next_one_goes_on(
    project: Project, pictures: Path, tmp_path: Path
) -> None:
    assert pictures.is_file()  # so there is data to learn from
    root = tmp_path / "project"
    root.mkdir()
    for path in ROOT.iterdir():
        if path.name not in {"deploy", ".git", ".trimtab"}:
            (root / path.name).symlink_to(path)
    shutil.copytree(ROOT / "deploy", root / "deploy")
    profile = root / "deploy" / "modal" / "profiles" / "cpu.toml"
    profile.write_text(re.sub(r"timeout_s = \d+", "timeout_s = 68", profile.read_text()))  # 60 of them to save in
    forever = config_of(tmp_path / "forever.yaml", epochs=100_000)
    words = ("--job", "classifier", "--config", forever, "--run-id", "curlews", "--profile", "cpu", "--wait", "no")
    app = root / "deploy" / "modal" / "app.py"
    # As launched by the toolkit: a price counts with two minutes for a start, and would refuse so short an attempt.
    said = project.plane.cli("run", "--detach", app, *words, env={NOTED: "1"})
    called = next(json.loads(line) for line in said.splitlines() if line.startswith("{"))
    record = project.volume() / "runs" / "curlews.json"

    def attempts() -> Any:
        found = json.loads(record.read_text())["attempts"] if record.is_file() else []
        return found if len(found) > 1 else None

    first, second = wait_until(attempts, within_s=90)[:2]
    project.plane.python(f"modal.FunctionCall.from_id({called['call_id']!r}).cancel()\nanswer = None")
    assert (first["outcome"], first["message"]) == ("interrupted", "stopped by its time limit")
    assert second["first_step"] == first["last_step"] > 0


def test_what_a_person_stops_is_saved_and_not_tried_again(project: Project, tmp_path: Path) -> None:
    forever = config_of(tmp_path / "forever.yaml", epochs=100_000)
    words = ("--job", "classifier", "--config", forever, "--run-id", "stopped", "--wait", "no")
    (called,) = project.run("--detach", APP, *words)
    record = project.volume() / "runs" / "stopped.json"
    wait_until(record.is_file)
    project.plane.python(f"modal.FunctionCall.from_id({called['call_id']!r}).cancel()\nanswer = None")

    def attempts() -> Any:
        found = json.loads(record.read_text())["attempts"]
        return found if found[-1].get("ended") else None

    assert len(wait_until(attempts)) == 1
    assert list(record.parent.parent.glob("checkpoints/*/*/stopped*/step-*"))


def test_where_the_embedded_modal_cannot_run_the_job_is_a_program_here_with_the_same_words(
    project: Project, pictures: Path, tmp_path: Path
) -> None:
    for path in ROOT.iterdir():
        if path.name not in {"deploy", ".git", ".trimtab"}:
            (tmp_path / path.name).symlink_to(path)
    desk = DeskProject(
        root=tmp_path, catalogue_path=ROOT / "trimtab.yaml", catalogue=CATALOGUE, state=project.folder / "state"
    )
    runner, said = ProcessRunner(), list[str]()
    handler = TrainingHandler(desk, runner, EmbeddedBucket(desk, runner, stack=EMBEDDED_STACK))
    with pytest.raises(ProgramError, match="exit code 2") as refused:
        handler.run(Train(job="classifier", config=pictures, label="again", must_resume=True), said.append)
    assert "to resume" in str(refused.value)
    result = handler.run(Train(job="classifier", config=pictures), said.append)
    assert "not on the embedded Modal, but as a program here: deploy/modal/app.py does not exist" in said
    record = read_run(desk.state / "results", result["run_id"])
    assert record is not None
    assert (record.outcome, record.attempts[-1].call, len(record.epochs)) == ("finished", None, 2)
    assert (desk.state / "results" / record.run_directory / "model.pt").is_file()


def test_every_function_is_run_here() -> None:
    told = Path(__file__).read_text()
    unknown = {
        name
        for name, function in load_functions().items()
        if not any(word in told for word in (f'"{function.action}"', f'::{name}"', f'"--job", "{name}"'))
    }
    assert unknown == set()


REFUSALS: Final = {
    "nothing": ((), 2, "nothing is launched"),
    "an unknown action": (("--action", "trian"), 2, "did you mean 'train'?"),
    "an unknown word": (("--action", "smoke", "--colour", "red"), 2, "No such option"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_wrong_never_reaches_modal(name: str, project: Project) -> None:
    words, code, said = REFUSALS[name]
    assert said in project.refused(APP, *words, code=code)


def test_a_wrong_configuration_never_reaches_modal(project: Project, tmp_path: Path) -> None:
    good = yaml.safe_load((ROOT / "configs" / "local" / "classifier.yaml").read_text())
    path = tmp_path / "wrong.yaml"
    for change, said in (({"sede": 7}, "did you mean 'seed'?"), ({"gpu": "H100"}, "asks for resources: gpu")):
        path.write_text(yaml.safe_dump({**good, **change}))
        assert said in project.refused(APP, "--job", "classifier", "--config", path, code=2)


def test_a_machine_that_starves_never_reaches_modal(project: Project, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "configs" / "local" / "dedup.yaml").read_text())
    content["pictures"]["workers"] = 16
    path = tmp_path / "many.yaml"
    path.write_text(yaml.safe_dump(content))
    said = project.refused(APP, "--action", "dedup", "--config", path, "--profile", "debug", code=6)
    assert "pictures.workers is 16, which need 16 cores (1 each), and it has 8" in said
    assert "--profile evaluate or h100 or train" in said


def test_without_a_token_or_a_role_modal_is_not_asked(project: Project, tmp_path: Path) -> None:
    no_token = {"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""}
    assert "modal token set" in project.refused(APP, "--job", "classifier", code=3, env=no_token)
    text = (ROOT / "trimtab.yaml").read_text()
    (tmp_path / "trimtab.yaml").write_text(text.replace("\n  classifier:\n", "\n  waves:\n", 1))
    other = {"TRIMTAB_CATALOGUE": str(tmp_path / "trimtab.yaml")}
    assert "which the catalogue does not have" in project.refused(APP, "--job", "classifier", code=2, env=other)
    fresh = {"TRIMTAB_STATE": str(tmp_path / "state")}
    assert "infra up" in project.refused(APP, "--job", "classifier", code=3, env=fresh)
