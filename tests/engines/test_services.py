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

from services.serving.manifest import read_manifest
from tests.support.serving import (
    CATALOGUE,
    HOSTILE,
    ROOT,
    Address,
    Hostile,
    assert_refused,
    labels,
    manifest_path,
    photograph,
    picture,
    real_models,
    routes,
    tiny_models,
    wait_until_healthy,
)

pytestmark = pytest.mark.xdist_group("engine")

BASE = CATALOGUE.base_image
VARIANT = "cpu"
MEMORY_LIMIT = "512m"
PORT = 8000
INDEX_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")


def docker(*arguments: str, check: bool = True) -> str:
    """Run docker and return what it wrote to stdout."""
    finished = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert not check or finished.returncode == 0, finished.stderr
    return finished.stdout


def build(tag: str, dockerfile: str, *more: str) -> None:
    """Build one image of services/."""
    built = subprocess.run(
        ["docker", "build", "--quiet", "--file", f"services/{dockerfile}", "--tag", tag, *more, "services"],
        cwd=ROOT,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Return the base that all services share, built here."""
    if shutil.which("docker") is None or not docker("version", "--format", "{{.Server.Version}}", check=False).strip():
        pytest.skip("no Docker engine answers (scripts/setup-engine starts one)")
    if not docker("image", "inspect", BASE, check=False).startswith("[\n"):
        pytest.skip(f"the base image {BASE} is not here (scripts/setup-engine brings it)")
    tag = f"trimtab-test/base:{uuid.uuid4().hex[:12]}"
    secrets = [f"--secret=id={name},env={name}" for name in INDEX_VARIABLES if name in os.environ]
    build(tag, "base/Dockerfile", f"--build-arg=BASE={BASE}", f"--build-arg=VARIANT={VARIANT}", *secrets)
    yield tag
    docker("image", "rm", "--force", tag)


@dataclass(frozen=True, kw_only=True)
class Image:
    """A service of the catalogue, and its image."""

    service: str
    tag: str

    @property
    def files(self) -> list[str]:
        """Return the model files that it asks for."""
        return [model.file for model in read_manifest(manifest_path(self.service)).models.values()]


@pytest.fixture(scope="module", params=CATALOGUE.services)
def image(base: str, request: pytest.FixtureRequest) -> Iterator[Image]:
    """Return each service's image, built here; what it was built from stays in the builder's cache."""
    tag = f"trimtab-test/{request.param}:{uuid.uuid4().hex[:12]}"
    arguments = {"BASE": base, "SERVICE": request.param, "PORT": str(PORT), "REVISION": "tested"}
    build(tag, "Dockerfile", *(f"--build-arg={name}={value}" for name, value in arguments.items()))
    yield Image(service=request.param, tag=tag)
    docker("image", "rm", "--force", tag)


@dataclass(slots=True, kw_only=True)
class Container(Address):
    """A service in a container with a read-only root and little memory."""

    name: str
    service: str

    @property
    def route(self) -> str:
        """Return an address that takes pictures."""
        return CATALOGUE.services[self.service].golden.post

    def state(self) -> dict[str, object]:
        """Return the engine's view of it."""
        state: dict[str, object] = json.loads(docker("inspect", "--format", "{{json .State}}", self.name))
        return state

    def python(self, code: str) -> str:
        """Run a line of Python inside, with the image's own interpreter."""
        return docker("exec", self.name, "python", "-c", code).strip()


def run_argv(image: Image, name: str, models: Path, *more: str) -> list[str]:
    """Return docker's arguments for the service as it is meant to run."""
    return [
        "run", "--detach", "--name", name, "--read-only", "--tmpfs", "/tmp",  # noqa: S108 - inside the container
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--memory", MEMORY_LIMIT, "--memory-swap", MEMORY_LIMIT,
        "--volume", f"{models}:/models:ro", "--publish", f"127.0.0.1::{PORT}", *more, image.tag,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def models() -> Path:
    """Return the real models."""
    return real_models()


@pytest.fixture(scope="module")
def container(image: Image, models: Path) -> Iterator[Container]:
    """Return each service, healthy, in a container the memory of which is limited."""
    name = f"trimtab-test-{uuid.uuid4().hex[:12]}"
    docker(*run_argv(image, name, models, "--env", "UPLOAD_TIMEOUT_S=2"))
    try:
        port = int(docker("port", name, str(PORT)).split(":")[-1])
        running = Container(port=port, name=name, service=image.service)
        wait_until_healthy(running, lambda: running.state()["Status"] == "running")
        yield running
    finally:
        docker("rm", "--force", "--volumes", name)


def size_bytes(image: str) -> int:
    """Return an image's size."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def test_the_image_is_within_its_budget_and_a_small_layer_on_the_shared_base(image: Image, base: str) -> None:
    budget = CATALOGUE.services[image.service].variants[VARIANT].size_over_base
    assert 0 < size_bytes(image.tag) - size_bytes(BASE) <= budget
    assert 0 < size_bytes(image.tag) - size_bytes(base) < 1_000_000


def test_the_image_says_what_it_is_and_checks_its_health(image: Image, base: str) -> None:
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image.tag))
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.title"] == image.service
    assert config["Labels"]["org.opencontainers.image.revision"] == "tested"
    assert config["Labels"]["org.opencontainers.image.base.name"] == base
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


def test_the_golden_picture_gets_the_golden_answer(container: Container) -> None:
    golden = CATALOGUE.services[container.service].golden
    answer = container.post(golden.post, (ROOT / golden.picture).read_bytes()).json()
    found = [item["label"] for item in answer.get("detections", answer.get("persons"))]
    assert {label: found.count(label) for label in golden.expect} == golden.expect


def test_the_astronaut_is_one_person_where_she_is(container: Container) -> None:
    for route in routes(container.service):
        answer = container.post(route, photograph("astronaut")).json()
        (person,) = (item for item in answer.get("detections", answer.get("persons")) if item["label"] == "person")
        x0, y0, x1, y1 = person["box"]
        assert x0 < 100
        assert 250 < x1 < 420
        assert y0 < 100
        assert y1 > 430
        for nose in person.get("keypoints", ())[:1]:
            assert nose["name"] == "nose"
            assert 190 < nose["x"] < 250
            assert 90 < nose["y"] < 150


def test_the_coffee_and_the_cat_are_nobody(container: Container) -> None:
    for route in routes(container.service):
        if route == "/v1/pose":
            assert container.post(route, photograph("coffee")).json()["persons"] == []
            assert container.post(route, photograph("chelsea")).json()["persons"] == []
        else:
            coffee = labels(container.post(route, photograph("coffee")))
            assert "cup" in coffee
            assert "person" not in coffee
            cat = labels(container.post(route, photograph("chelsea")))
            assert cat[0] == "cat"
            assert "person" not in cat


def test_the_page_and_the_description_answer(container: Container) -> None:
    page = container.ask("GET", "/")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert set(routes(container.service)) <= set(container.ask("GET", "/openapi.json").json()["paths"])


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_request_gets_a_4xx_in_json(container: Container, hostile: Hostile) -> None:
    assert_refused(hostile, hostile.send(container, container.route))


def test_eight_of_the_largest_pictures_at_once_fit_into_its_memory(container: Container) -> None:
    large = [
        picture("PNG", width=5000, height=5000, mode="RGBA"),
        picture("JPEG", width=5000, height=5000, mode="CMYK"),
        picture("WEBP", width=3500, height=3500, lossless=True),
        picture("PNG", width=5000, height=5000, mode="P"),
    ]
    statuses: list[int] = []
    threads = [
        threading.Thread(
            target=lambda content=content: statuses.append(container.post(container.route, content).status)
        )
        for content in large * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    state = container.state()
    assert (state["Status"], state["OOMKilled"]) == ("running", False)
    assert container.post(container.route, photograph("astronaut")).status == 200


def test_it_stops_when_asked_with_0_and_is_not_killed(image: Image, models: Path) -> None:
    name = f"trimtab-test-{uuid.uuid4().hex[:12]}"
    docker(*run_argv(image, name, models))
    try:
        stopping = Container(port=int(docker("port", name, str(PORT)).split(":")[-1]), name=name, service=image.service)
        wait_until_healthy(stopping, lambda: stopping.state()["Status"] == "running")
        docker("stop", "--time", "30", name)
        assert stopping.state()["ExitCode"] == 0
    finally:
        docker("rm", "--force", "--volumes", name)


def test_without_its_models_it_does_not_start_and_says_which(image: Image) -> None:
    finished = subprocess.run(
        ["docker", "run", "--rm", "--read-only", "--tmpfs", "/models", image.tag],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    for file in image.files:
        assert f"{file}: No such file or directory" in finished.stderr


def test_another_model_needs_another_manifest_and_no_other_image(image: Image, models: Path, tmp_path: Path) -> None:
    manifest = tiny_models(tmp_path, like=image.service)
    tmp_path.chmod(0o755)
    name = f"trimtab-test-{uuid.uuid4().hex[:12]}"
    docker(*run_argv(image, name, tmp_path, "--env", f"MODELS_MANIFEST=/models/{manifest.name}"))
    try:
        swapped = Container(port=int(docker("port", name, str(PORT)).split(":")[-1]), name=name, service=image.service)
        wait_until_healthy(swapped, lambda: swapped.state()["Status"] == "running")
        served = {model["name"] for model in swapped.ask("GET", "/health").json()["models"]}
        assert served <= {"tiny-detector", "tiny-pose"}
    finally:
        docker("rm", "--force", "--volumes", name)
    spoilt = tmp_path / "tiny-detector.onnx"
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"?")
    finished = subprocess.run(
        ["docker", *(word for word in run_argv(image, name, tmp_path, "--rm", "--env",
                                               f"MODELS_MANIFEST=/models/{manifest.name}") if word != "--detach")],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert finished.returncode == 2
    assert "tiny-detector.onnx: has the sha256" in finished.stderr
