"""`./deploy.sh --local` as a newcomer runs it: the real engine, the embedded AWS, real models, real training.

One project of its own (name, port, state) is taken the whole way once; each test then asks one question about it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from trimtab.catalogue import Catalogue, load_catalogue
from trimtab.emulation import aws

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.xdist_group("engine"), pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Way:
    """A project of its own: its catalogue, its state, and how deploy.sh is called for it."""

    catalogue_path: Path
    state: Path

    @property
    def catalogue(self) -> Catalogue:
        return load_catalogue(self.catalogue_path)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TRIMTAB_STATE": str(self.state), "NO_COLOR": "1"}

    def argv(self, *words: str) -> list[str]:
        return [str(ROOT / "deploy.sh"), *words, "--catalogue", str(self.catalogue_path)]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )

    def document(self, *words: str) -> dict[str, Any]:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr[-3000:]
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def a_way(folder: Path, name: str, **changes: str) -> Way:
    """Write a catalogue like the project's own, on free ports and under a name with one, with these texts replaced.

    The name holds a port so that two suites on one engine do not take each other's containers for their own.
    """
    text = (ROOT / "trimtab.yaml").read_text()
    with ExitStack() as probes:
        for service in load_catalogue(ROOT / "trimtab.yaml").services.values():
            probe = probes.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            text = text.replace(f"port: {service.port}\n", f"port: {port}\n")
    text = text.replace("project: trimtab-demo", f"project: {name}-{port}")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "catalogue.yaml"
    path.write_text(text)
    return Way(catalogue_path=path, state=folder / "state")


@pytest.fixture(scope="session")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    if os.geteuid() != 0 and shutil.which("docker") is None:
        pytest.skip("no Docker engine here, and not root to install one")
    way = a_way(tmp_path_factory.mktemp("way"), "trimtab-e2e")
    yield way
    way.run("--down")
    _take_away("image", f"label=org.trimtab.project={way.catalogue.project}")
    _take_away("volume", f"name={way.catalogue.project}-")


def _take_away(kind: str, which: str) -> None:
    """Remove what a project of the tests left on the engine."""
    listed = subprocess.run(
        ["docker", kind, "ls", "--quiet", "--filter", which], capture_output=True, text=True, check=False
    )
    if found := sorted(set(listed.stdout.split())):
        subprocess.run(["docker", kind, "rm", "--force", *found], capture_output=True, check=False)


@pytest.fixture(scope="session")
def first(way: Way) -> dict[str, Any]:
    """The first run, whose training is killed in the middle, and the run that goes on."""
    with subprocess.Popen(
        way.argv("--local"), env=way.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        training, number = _wait_for_training(way, process)
        os.kill(training, number)
        output = process.communicate(timeout=120)
    assert process.returncode == 4, output[1][-2000:]
    assert "it goes on from the last" in output[1]
    return way.document("--local")


@pytest.fixture(scope="session")
def second(way: Way, first: dict[str, Any]) -> dict[str, Any]:
    return way.document("--local")


def _wait_for_training(way: Way, process: subprocess.Popen[str]) -> tuple[int, int]:
    """Return the id of the training's process, and what ends it, once it has left a complete checkpoint.

    On the embedded Modal that is `modal run`, whose end is its containers' end; without, the job's own program.
    """
    import psutil

    ways = (
        ("training.classifier", way.state / "results", signal.SIGKILL),
        (str(ROOT / "deploy/modal/app.py"), way.state / "modal" / "volumes", signal.SIGINT),
    )
    deadline = time.monotonic() + 800
    while time.monotonic() < deadline and process.poll() is None:
        for word, results, number in ways:
            with suppress(psutil.Error, OSError):  # whatever is looked at may be gone or be replaced meanwhile
                if any("step-" in str(path) for path in results.rglob("[Mm][Aa][Nn][Ii][Ff][Ee][Ss][Tt].json")):
                    for child in psutil.Process(process.pid).children(recursive=True):
                        if word in child.cmdline():
                            return child.pid, number
        time.sleep(0.05)
    raise AssertionError(f"no training was seen: {process.communicate()[1][-3000:]}")


def step(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in document["steps"] if item["step"].startswith(name))
    return found


def test_every_step_is_done_and_measured(way: Way, first: dict[str, Any]) -> None:
    services = list(way.catalogue.services)
    jobs = [name for name, job in way.catalogue.jobs.items() if job.local]
    assert [item["step"] for item in first["steps"]] == [
        "engine",
        "front",
        "provision",
        *(f"models:{name}" for name in services),
        *(f"data:{job}" for job in jobs),
        "base:cpu",
        *(f"{kind}:{name}:cpu" for name in services for kind in ("image", "serve")),
        *(f"train:{job}" for job in jobs),
    ]
    assert step(first, "train")["outcome"] == "done"
    assert step(first, "train")["measured"]["wall_s"] > 0


def test_a_training_that_was_killed_goes_on_in_the_same_run(first: dict[str, Any]) -> None:
    assert step(first, "train")["result"]["attempts"] == 2
    assert step(first, "train")["result"]["test_accuracy"] >= 0.97


def test_what_was_finished_before_the_kill_is_not_repeated(first: dict[str, Any]) -> None:
    outcomes = {item["step"]: item["outcome"] for item in first["steps"] if not item["step"].startswith("train:")}
    assert set(outcomes.values()) == {"already done"}, outcomes


def test_the_second_run_repeats_nothing(second: dict[str, Any]) -> None:
    assert {item["outcome"] for item in second["steps"]} == {"already done"}


def test_every_image_is_within_220_megabytes_over_its_base(first: dict[str, Any]) -> None:
    images = [item["result"]["over_base_bytes"] for item in first["steps"] if item["step"].startswith("image:")]
    assert len(images) == 3
    assert all(0 < over_base <= 220_000_000 for over_base in images)


def test_every_service_finds_what_is_in_a_real_picture(first: dict[str, Any], way: Way) -> None:
    for name, service in way.catalogue.services.items():
        address = step(first, f"serve:{name}")["result"]["address"].rstrip("/")
        picture = (ROOT / service.golden.picture).read_bytes()
        answer = requests.post(address + service.golden.post, files={"image": ("a.jpg", picture)}, timeout=30).json()
        found = [item["label"] for item in answer.get("detections", answer.get("persons"))]
        assert {label: found.count(label) for label in service.golden.expect} == service.golden.expect


def test_the_page_holds_its_pictures(way: Way, first: dict[str, Any]) -> None:
    page = Path(first["report"]).read_text()
    assert "<svg" in page or "data:image/" in page
    assert all(name in page for name in way.catalogue.services)


def test_checkpoints_lie_in_a_dated_directory_and_in_the_bucket(way: Way, first: dict[str, Any]) -> None:
    result = step(first, "train")["result"]
    directory = Path(result["checkpoints"])
    time.strptime(directory.parent.name, "%Y-%m-%d")
    assert result["bucket"].endswith(f"{directory.parent.name}/{directory.name}/")
    bucket, _, prefix = result["bucket"].removeprefix("s3://").partition("/")
    running = aws.status(way.state / "aws")
    assert running is not None
    listed = running.operator_client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    assert any(item["Key"].endswith("/model.pt") for item in listed["Contents"])
    job = way.catalogue.jobs["classifier"]
    record = running.operator_client("s3").get_object(Bucket=bucket, Key=f"{job.results}runs/{result['run_id']}.json")
    assert json.loads(record["Body"].read())["final"]["test_accuracy"] == result["test_accuracy"]


def test_the_table_names_every_step_and_where_things_are(way: Way, first: dict[str, Any]) -> None:
    done = way.run("--local")
    assert done.returncode == 0
    assert "\x1b[" not in done.stdout + done.stderr
    for item in first["steps"]:
        assert item["step"] in done.stdout
    assert step(first, "serve")["result"]["address"] in done.stdout
    assert first["report"] in done.stdout


def test_status_says_what_serves(way: Way, first: dict[str, Any]) -> None:
    rows = {row["what"]: row for row in way.document("--status")["status"]}
    assert {rows[f"service {name}"]["state"] for name in way.catalogue.services} == {"healthy"}
    assert rows["embedded AWS"]["state"] == "running"


def test_an_embedded_aws_that_died_is_provisioned_and_filled_again(way: Way, first: dict[str, Any]) -> None:
    assert aws.stop(way.state / "aws")
    document = way.document("--local")
    made_anew = ("provision", "models", "data")
    for item in document["steps"]:
        kind = item["step"].split(":")[0]
        if kind != "train":
            assert item["outcome"] == ("done" if kind in made_anew else "already done"), item["step"]
    assert step(document, "train")["result"]["attempts"] == 2, "it must not be trained again"


def test_over_budget_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    small = a_way(tmp_path, "trimtab-e2e-small", **{"disk: 5GiB": "disk: 100MiB"})
    done = small.run("--local")
    assert done.returncode == 6
    assert "budgets.disk" in done.stderr
    assert not small.state.exists()


def test_a_taken_port_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    taken = a_way(tmp_path, "trimtab-e2e-port")
    with socket.create_server(("127.0.0.1", next(iter(taken.catalogue.services.values())).port)):
        done = taken.run("--local")
    assert done.returncode == 2
    assert f"process {os.getpid()}" in done.stderr
    assert not any(path.name != "lock" for path in taken.state.iterdir())


def test_an_unknown_key_names_the_nearest_one(tmp_path: Path) -> None:
    wrong = a_way(tmp_path, "trimtab-e2e-key", **{"memory: 1GiB": "memroy: 1GiB"})
    done = wrong.run("--local")
    assert done.returncode == 2
    assert "did you mean 'memory'" in done.stderr
    assert not wrong.state.exists()


def test_without_an_engine_the_cause_and_the_remedy_are_named(tmp_path: Path) -> None:
    none = a_way(tmp_path, "trimtab-e2e-engine")
    done = none.run("--local", DOCKER_HOST=f"unix://{tmp_path}/no-engine.sock")
    assert done.returncode == 3
    assert "unset DOCKER_HOST" in done.stderr


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small disk that this needs")
    full = a_way(tmp_path, "trimtab-e2e-full")
    full.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", str(full.state)], check=True)
    try:
        done = full.run("--local")
        assert done.returncode == 6
        assert "there is not enough room" in done.stderr
        assert {path.name for path in full.state.iterdir()} == {"lock"}
    finally:
        subprocess.run(["umount", str(full.state)], check=True)


def test_down_stops_what_was_started_and_keeps_what_was_made(way: Way, second: dict[str, Any]) -> None:
    *containers, last = way.document("--down")["stopped"]
    assert last == "the embedded AWS"
    for name in way.catalogue.services:
        assert any(container.startswith(f"{way.catalogue.project}-{name}-") for container in containers), name
    rows = {row["what"]: row for row in way.document("--status")["status"]}
    assert {rows[f"service {name}"]["state"] for name in way.catalogue.services} == {"not running"}
    assert Path(step(second, "train")["result"]["checkpoints"]).is_dir()
    assert way.document("--down")["stopped"] == []
