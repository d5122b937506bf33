"""The real image in the real engine, with the real models and pictures: size, rights, findings, refusals, memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.serving import (
    HOSTILE,
    ROOT,
    Address,
    Hostile,
    assert_refused,
    labels,
    photograph,
    picture,
    real_models,
    wait_until_healthy,
)

pytestmark = pytest.mark.xdist_group("engine")

BASE = "python:3.11-slim-bookworm"
SIZE_LIMIT_BYTES = 220_000_000
MEMORY_LIMIT = "512m"
PORT = 8001


def docker(*arguments: str, check: bool = True) -> str:
    """Run docker and return what it wrote to stdout."""
    finished = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    """Return the image, built here; what it was built from stays in the builder's cache."""
    if shutil.which("docker") is None or not docker("version", "--format", "{{.Server.Version}}", check=False).strip():
        pytest.skip("no Docker engine answers (scripts/setup-engine starts one)")
    if not docker("image", "inspect", BASE, check=False).startswith("[\n"):
        pytest.skip(f"the base image {BASE} is not here (scripts/setup-engine brings it)")
    tag = f"trimtab-test/yolo-combined:{uuid.uuid4().hex[:12]}"
    built = subprocess.run(
        ["docker", "build", "--quiet", "--file", "services/yolo-combined/Dockerfile", "--tag", tag,
         "--build-arg", "REVISION=tested", "services"],
        cwd=ROOT,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    yield tag
    docker("image", "rm", "--force", tag)


@dataclass(slots=True, kw_only=True)
class Container(Address):
    """The service in a container with a read-only root and little memory."""

    name: str

    def state(self) -> dict[str, object]:
        """Return the engine's view of it."""
        state: dict[str, object] = json.loads(docker("inspect", "--format", "{{json .State}}", self.name))
        return state

    def python(self, code: str) -> str:
        """Run a line of Python inside, with the image's own interpreter."""
        return docker("exec", self.name, "python", "-c", code).strip()


def run_argv(image: str, name: str, models: Path, *more: str) -> list[str]:
    """Return docker's arguments for the service as it is meant to run."""
    return [
        "run", "--detach", "--name", name, "--read-only", "--tmpfs", "/tmp",  # noqa: S108 - inside the container
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--memory", MEMORY_LIMIT, "--memory-swap", MEMORY_LIMIT,
        "--volume", f"{models}:/models:ro", "--publish", f"127.0.0.1::{PORT}", *more, image,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def models() -> Path:
    """Return the real models."""
    return real_models()


@pytest.fixture(scope="module")
def container(image: str, models: Path) -> Iterator[Container]:
    """Return the healthy service in a container, the memory of which is limited."""
    name = f"trimtab-test-{uuid.uuid4().hex[:12]}"
    docker(*run_argv(image, name, models, "--env", "UPLOAD_TIMEOUT_S=2"))
    try:
        port = int(docker("port", name, str(PORT)).split(":")[-1])
        running = Container(port=port, name=name)
        wait_until_healthy(running, lambda: running.state()["Status"] == "running")
        yield running
    finally:
        docker("rm", "--force", "--volumes", name)


def test_the_image_is_within_its_budget_over_its_base(image: str) -> None:
    size, base_size = (int(docker("image", "inspect", "--format", "{{.Size}}", name)) for name in (image, BASE))
    assert 0 < size - base_size <= SIZE_LIMIT_BYTES


def test_the_image_says_what_it_is_and_checks_its_health(image: str) -> None:
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.title"] == "yolo-combined"
    assert config["Labels"]["org.opencontainers.image.revision"] == "tested"
    assert config["Labels"]["org.opencontainers.image.base.name"] == BASE
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert f"{PORT}/tcp" in config["ExposedPorts"]


def test_it_is_not_root_and_can_write_only_to_tmp(container: Container) -> None:
    assert container.python("import os; print(os.getuid(), os.getgid())") == "10001 10001"
    written = container.python(
        "import pathlib\n"
        "for place in ('/', '/app', '/opt/venv', '/models', '/tmp', '/home', '/var/tmp'):\n"
        "    try: (pathlib.Path(place) / 'probe').write_text('x'); print(place)\n"
        "    except OSError: pass"
    )
    assert written.split() == ["/tmp"]  # noqa: S108 - inside the container


def test_nothing_in_it_installs_or_compiles(container: Container) -> None:
    found = container.python(
        "import importlib.util, shutil\n"
        "print([p for p in ('pip', 'pip3', 'gcc', 'cc', 'ld', 'make', 'curl', 'wget', 'git') if shutil.which(p)],"
        " importlib.util.find_spec('pip'), importlib.util.find_spec('ensurepip.__main__') is None)"
    )
    assert found.startswith("[] None")
    leftovers = container.python(
        "import pathlib, sysconfig\n"
        "site = pathlib.Path(sysconfig.get_path('purelib'))\n"
        "print([str(p) for p in site.rglob('*') if p.name in ('tests', 'include') or p.suffix in ('.h', '.pyi')][:5])"
    )
    assert leftovers == "[]"


def test_the_engine_sees_it_healthy(container: Container) -> None:
    deadline = time.monotonic() + 40
    while container.state()["Health"]["Status"] != "healthy":  # type: ignore[index]  # docker's JSON
        assert time.monotonic() < deadline, container.state()
        time.sleep(0.5)


def test_the_astronaut_is_one_person_in_both_tasks(container: Container) -> None:
    detected = container.post("/v1/detect", photograph("astronaut"))
    assert labels(detected).count("person") == 1
    person = next(found for found in detected.json()["detections"] if found["label"] == "person")
    assert person["score"] > 0.6
    x0, y0, x1, y1 = person["box"]
    assert x0 < 100
    assert 250 < x1 < 420
    assert y0 < 60
    assert y1 > 450

    (posed,) = container.post("/v1/pose", photograph("astronaut")).json()["persons"]
    nose = posed["keypoints"][0]
    assert nose["name"] == "nose"
    assert 190 < nose["x"] < 250
    assert 90 < nose["y"] < 150


def test_the_coffee_has_a_cup_and_nobody(container: Container) -> None:
    found = labels(container.post("/v1/detect", photograph("coffee")))
    assert "cup" in found
    assert "person" not in found
    assert container.post("/v1/pose", photograph("coffee")).json()["persons"] == []


def test_the_cat_is_a_cat_and_no_person(container: Container) -> None:
    found = labels(container.post("/v1/detect", photograph("chelsea")))
    assert found[0] == "cat"
    assert "person" not in found
    assert container.post("/v1/pose", photograph("chelsea")).json()["persons"] == []


def test_the_page_and_the_description_answer(container: Container) -> None:
    page = container.ask("GET", "/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "/v1/pose" in container.ask("GET", "/openapi.json").json()["paths"]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_request_gets_a_4xx_in_json(container: Container, hostile: Hostile) -> None:
    assert_refused(hostile, hostile.send(container))


def test_eight_of_the_largest_pictures_at_once_fit_into_its_memory(container: Container) -> None:
    for hostile in HOSTILE:
        assert_refused(hostile, hostile.send(container))
    large = [
        picture("PNG", width=5000, height=5000, mode="RGBA"),
        picture("JPEG", width=5000, height=5000, mode="CMYK"),
        picture("WEBP", width=3500, height=3500, lossless=True),
        picture("PNG", width=5000, height=5000, mode="P"),
    ]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda content=content: statuses.append(container.post("/v1/pose", content).status))
        for content in large * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    state = container.state()
    assert (state["Status"], state["OOMKilled"]) == ("running", False)
    assert labels(container.post("/v1/detect", photograph("astronaut"))).count("person") == 1


def test_it_stops_when_asked_with_0_and_is_not_killed(image: str, models: Path) -> None:
    name = f"trimtab-test-{uuid.uuid4().hex[:12]}"
    docker(*run_argv(image, name, models))
    try:
        stopping = Container(port=int(docker("port", name, str(PORT)).split(":")[-1]), name=name)
        wait_until_healthy(stopping, lambda: stopping.state()["Status"] == "running")
        docker("stop", "--time", "30", name)
        assert stopping.state()["ExitCode"] == 0
    finally:
        docker("rm", "--force", "--volumes", name)


def test_without_its_models_it_does_not_start_and_says_which(image: str) -> None:
    finished = subprocess.run(
        ["docker", "run", "--rm", "--read-only", "--tmpfs", "/models", image],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "nanodet.onnx: No such file or directory" in finished.stderr
    assert "movenet-multipose.onnx: No such file or directory" in finished.stderr
