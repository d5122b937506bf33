"""The classifier through `modal run deploy/modal/app.py`: preempted, killed, out of time, and the same to the bit.

The embedded AWS, the embedded Modal and the Docker engine are real; so is the app. Only the data set is a small one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.modal_plane import ModalPlane, embedded_modal, wait_until
from tests.support.training import final_state, same, small_config, small_folder
from trimtab.catalogue import load_catalogue
from trimtab.emulation import aws
from trimtab.emulation.modal import bucket_mount
from trimtab.storage.datasets import push
from trimtab.storage.objects import Place
from trimtab.storage.runs import read_run

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

    from trimtab.storage.runs import RunRecord

pytestmark = [
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(bucket_mount.missing() is not None, reason=str(bucket_mount.missing())),
]
ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "deploy" / "modal" / "app.py"
JOB = "classifier"
_ATTEMPT_S = 45.0  # what is left of the hour that an attempt of the job has
_EPOCHS = 60


@dataclass(frozen=True, kw_only=True)
class Training:
    """The app of this repository on a plane, with a small data set in the job's bucket."""

    plane: ModalPlane
    folder: Path
    data: Path
    engine: DockerClient

    def config(self, epochs: int) -> Path:
        optimisation = {"epochs": epochs}
        return small_config(
            self.folder / f"config-{epochs}.yaml", optimisation=optimisation, checkpoints={"every_steps": 40}
        )

    def uninterrupted(self, epochs: int) -> Path:
        """Train as a program here, in one go, and return where the run lies."""
        results = self.folder / f"alone-{epochs}"
        argv = (sys.executable, "-m", f"training.{JOB}", "--config", self.config(epochs), "--data", self.data)
        subprocess.run((*argv, "--results", results, "--run-id", "alone"), check=True, cwd=ROOT, capture_output=True)
        record = read_run(results, "alone")
        assert record is not None
        return results / record.run_directory

    def start(self, run_id: str, epochs: int) -> subprocess.Popen[str]:
        words = ("--job", JOB, "--config", self.config(epochs), "--run-id", run_id, "--profile", "cpu")
        return self.plane.start("run", APP, *words, "--results", self.folder / "fetched")

    def wait_for_commit(self, run_id: str, process: subprocess.Popen[str]) -> None:
        """Return once a checkpoint of a run is committed."""
        volumes = self.plane.running.state_dir / "volumes"

        def committed() -> bool:
            assert process.poll() is None, process.communicate()[0]
            with suppress(OSError):  # a commit replaces the tree that is being looked through
                return any(run_id in str(path) for path in volumes.glob("*/head/checkpoints/*/*/*/step-*/*"))
            return False

        wait_until(committed, within_s=240)

    def containers(self) -> list[Container]:
        ours = str(self.plane.running.state_dir)
        found = self.engine.containers.list(filters={"label": "org.trimtab.modal.task"}, ignore_removed=True)
        return [one for one in found if any(ours in mount["Source"] for mount in one.attrs["Mounts"])]

    def finished(self, run_id: str, process: subprocess.Popen[str]) -> tuple[RunRecord, Path]:
        """Wait for the end of a run, and return its record and where its files lie here."""
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        record = self.fetched(run_id)
        return record, self.folder / "fetched" / record.run_directory

    def fetched(self, run_id: str) -> RunRecord:
        record = read_run(self.folder / "fetched", run_id)
        assert record is not None
        return record


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, engine: DockerClient) -> Iterator[Training]:
    folder = tmp_path_factory.mktemp("training")
    state = folder / "state"
    catalogue = load_catalogue(ROOT / "trimtab.yaml")
    subprocess.run(
        (sys.executable, "-m", "trimtab", "infra", "up", "--embedded"),
        env={**os.environ, "TRIMTAB_STATE": str(state)},
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    running = aws.status(state / "aws")
    assert running is not None
    data = small_folder(folder / "data")
    place = Place(bucket=catalogue.bucket_name("dev"), prefix=catalogue.jobs[JOB].data)
    push(running.operator_client("s3", region=catalogue.aws.region), data, place)
    identity = {"workspace": catalogue.modal.workspace, "environment": catalogue.modal.environment}
    try:
        with embedded_modal(
            folder, aws_state_dir=state / "aws", runner="docker", time_scale=_ATTEMPT_S / 3600, **identity
        ) as plane:
            plane.env["TRIMTAB_STATE"] = str(state)
            yield Training(plane=plane, folder=folder, data=data, engine=engine)
    finally:
        aws.stop(state / "aws")


@pytest.fixture(scope="module")
def whole(training: Training) -> Path:
    return training.uninterrupted(_EPOCHS)


def weights(run: Path) -> bytes:
    return (run / "model.pt").read_bytes()


def test_an_uninterrupted_run_equals_the_program_s_at_the_desk(training: Training, whole: Path) -> None:
    record, run = training.finished("whole", training.start("whole", _EPOCHS))
    assert record.outcome == "finished"
    assert weights(run) == weights(whole)
    assert same(final_state(run), final_state(whole))


def test_a_killed_training_goes_on_from_its_last_commit(training: Training, whole: Path) -> None:
    process = training.start("killed", _EPOCHS)
    training.wait_for_commit("killed", process)
    for container in training.containers():
        container.kill()
    record, run = training.finished("killed", process)
    assert (record.attempts[0].outcome, record.outcome) == ("killed", "finished")
    assert record.attempts[1].first_step > 0
    assert weights(run) == weights(whole)
    assert same(final_state(run), final_state(whole))


def test_a_preempted_training_goes_on_where_it_was(training: Training, whole: Path) -> None:
    process = training.start("preempted", _EPOCHS)
    training.wait_for_commit("preempted", process)
    assert training.plane.running.ask("interrupt", {"target": f"{training_app()}.{JOB}"})
    record, run = training.finished("preempted", process)
    assert (record.attempts[0].outcome, record.outcome) == ("interrupted", "finished"), record.attempts[0].message
    assert record.attempts[1].first_step == record.attempts[0].last_step
    assert weights(run) == weights(whole)
    assert same(final_state(run), final_state(whole))


def test_a_training_that_is_out_of_time_goes_on_in_the_next_attempt(training: Training) -> None:
    attempt = training.fetched("whole").attempts[-1]
    assert attempt.ended is not None
    took_s = (attempt.ended - attempt.started).total_seconds()
    # As fast as this machine is now; half of so short a run is its beginning and end, so this is for two attempts.
    epochs = max(_EPOCHS, int(_EPOCHS * 2.4 * _ATTEMPT_S / took_s))
    process = training.start("timed-out", epochs)
    whole = training.uninterrupted(epochs)
    record, run = training.finished("timed-out", process)
    assert len(record.attempts) > 1
    assert {attempt.outcome for attempt in record.attempts[:-1]} == {"killed"}
    assert record.outcome == "finished"
    assert weights(run) == weights(whole)
    assert same(final_state(run), final_state(whole))


def test_a_launch_returns_at_once_and_can_be_asked_for(training: Training) -> None:
    words = (
        "--action",
        "train",
        "--job",
        JOB,
        "--config",
        training.config(_EPOCHS),
        "--run-id",
        "whole",
        "--wait",
        "no",
    )
    said = training.plane.cli("run", "--detach", APP, *words)
    call = next(json.loads(line)["call_id"] for line in said.splitlines() if line.startswith("{"))

    def state() -> dict[str, Any]:
        done = subprocess.run(
            (sys.executable, "-m", "deploy.modal.state", call, "--json"),
            env=training.plane.environment(),
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    deadline = time.monotonic() + 120
    while (document := state())["state"] == "running":
        assert time.monotonic() < deadline
    assert document["state"] == "finished"
    assert document["result"]["outcome"] == "already finished"


def test_a_wrong_word_ends_before_anything_is_started(training: Training) -> None:
    output = training.plane.cli("run", APP, "--action", "train", "--job", "classifer", code=2)
    assert f"did you mean '{JOB}'" in output


def training_app() -> str:
    return load_catalogue(ROOT / "trimtab.yaml").modal.app
