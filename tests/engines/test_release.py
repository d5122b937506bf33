"""Releases on the real engine: whatever is wrong with the new one, the old one serves, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import requests

from tests.support.catalogues import catalogue, plain
from tests.support.engine import (
    ROOT,
    SERVICE,
    build_service,
    free_port,
    spec_of,
    tidied_up,
    unused_project,
)
from trimtab.errors import HealthError, ProgramError, UsageError
from trimtab.images.build import LABEL_PROJECT
from trimtab.images.container import (
    ContainerSpec,
    container_name,
    port_is_taken,
    replace_serving,
    stop_all,
    try_candidate,
)
from trimtab.images.golden import GoldenAnswer, ask_golden
from trimtab.project import Project
from trimtab.steps.service import Serve, ServiceHandler

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.xdist_group("engine")

NEVER_HEALTHY = ("unhealthy", "starting")
MODES = ("good", "better", "unhealthy", "starting", "crashing", "wrong", "refusing")
BAD = {
    "unhealthy": "is not healthy after 4 s",
    "starting": "is not healthy after 4 s",
    "crashing": "answers nowhere|ended before it was healthy",
    "wrong": "gave a wrong answer to the golden request",
    "refusing": "did not answer the golden request",
}
WHY = {
    "unhealthy": '/health answered 200: {"status": "unhealthy"',
    "starting": '/health answered 503: {"status": "starting"',
    "crashing": "no model under /models",
    "wrong": "gull: expected 1, found 3",
    "refusing": 'it answered 422: {"error": "I do not like this picture"}',
}


@pytest.fixture(scope="module")
def images(engine: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Build one image for each way to behave."""
    with tidied_up(engine, unused_project()) as project:
        folder = tmp_path_factory.mktemp("images")
        yield {mode: build_service(project, mode, folder / mode) for mode in MODES}


Release = Callable[[str], ContainerSpec]


@pytest.fixture
def release(project: str, images: Mapping[str, str], tmp_path: Path) -> Release:
    """Return the release of a mode; all of them on one port."""
    port = free_port()
    return lambda mode: spec_of(
        project, images[mode], port=port, models=tmp_path, start_s=4 if mode in NEVER_HEALTHY else 30
    )


@pytest.fixture
def check(tmp_path: Path) -> Callable[[str], GoldenAnswer]:
    golden = catalogue().services[SERVICE].golden
    picture = tmp_path / golden.picture
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"a picture of a gull")
    return lambda address: ask_golden(address, golden, root=tmp_path)


Check = Callable[[str], GoldenAnswer]


def silent(_line: str) -> None:
    """Say nothing."""


def names_of(engine: DockerClient, project: str) -> list[str]:
    found = engine.containers.list(all=True, filters={"label": f"{LABEL_PROJECT}={project}"})
    return sorted(str(container.name).removeprefix(f"{project}-{SERVICE}-") for container in found)


def served_by(spec: ContainerSpec) -> str:
    """Return the mode of the release that answers on the service's port, within the time that a restart may take."""
    deadline = time.monotonic() + 20
    while True:
        try:
            mode: str = requests.get(f"http://127.0.0.1:{spec.port}/health", timeout=2).json()["release"]
        except requests.RequestException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return mode


class Visitor:
    """Asks for /health without a pause, and counts the visits that failed."""

    def __init__(self, port: int) -> None:
        self.visits = self.failed = 0
        self._address = f"http://127.0.0.1:{port}/health"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._visit)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _visit(self) -> None:
        while not self._stop.wait(0.02):
            self.visits += 1
            try:
                self.failed += requests.get(self._address, timeout=2).status_code != 200
            except requests.RequestException:
                self.failed += 1


def test_a_good_release_serves_on_its_port_and_leaves_nothing_else(
    engine: DockerClient, release: Release, check: Check
) -> None:
    spec = release("good")
    try_candidate(engine, spec, check=check, say=silent)
    assert names_of(engine, spec.project) == []
    answer = replace_serving(engine, spec, check=check, say=silent)
    assert answer.document == {"detections": [{"label": "gull"}]}
    assert served_by(spec) == "good"
    assert names_of(engine, spec.project) == ["serving"]


def test_a_release_runs_without_any_right_that_it_does_not_need(
    engine: DockerClient, release: Release, check: Check
) -> None:
    spec = release("good")
    replace_serving(engine, spec, check=check, say=silent)
    container = engine.containers.get(spec.name("serving"))
    state = container.exec_run(["cat", "/proc/1/status"]).output.decode()
    fields = dict(line.split(":\t", 1) for line in state.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] == "10001"
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert container.exec_run(["touch", "/models/x"]).exit_code != 0
    assert container.exec_run(["touch", "/srv/x"]).exit_code != 0
    assert container.exec_run(["touch", "/tmp/x"]).exit_code == 0  # noqa: S108 - inside the container
    limits = container.attrs["HostConfig"]
    assert (limits["Memory"], limits["MemorySwap"]) == (spec.memory_bytes, spec.memory_bytes)
    assert container.ports["8000/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(spec.port)}]


def test_a_new_release_takes_the_place_of_the_old_one(engine: DockerClient, release: Release, check: Check) -> None:
    replace_serving(engine, release("good"), check=check, say=silent)
    replace_serving(engine, release("better"), check=check, say=silent)
    assert served_by(release("better")) == "better"
    assert names_of(engine, release("good").project) == ["serving"]


@pytest.mark.parametrize("mode", BAD)
def test_a_bad_candidate_is_refused_while_the_old_release_serves_without_a_break(
    engine: DockerClient, release: Release, check: Check, mode: str
) -> None:
    spec = release("good")
    replace_serving(engine, spec, check=check, say=silent)
    with Visitor(spec.port) as visitor, pytest.raises(HealthError, match=BAD[mode]) as caught:
        try_candidate(engine, release(mode), check=check, say=silent)
    assert caught.value.exit_code == 7
    assert WHY[mode] in caught.value.why
    assert f"| this is the last line of {mode}" in caught.value.why
    assert "the release before" in caught.value.remedy
    assert visitor.visits > 5
    assert visitor.failed == 0
    assert served_by(spec) == "good"
    assert names_of(engine, spec.project) == ["serving"]


@pytest.mark.parametrize("mode", ["unhealthy", "crashing", "wrong"])
def test_a_release_that_fails_in_its_place_gives_it_back(
    engine: DockerClient, release: Release, check: Check, mode: str
) -> None:
    replace_serving(engine, release("good"), check=check, say=silent)
    with pytest.raises(HealthError, match=BAD[mode]) as caught:
        replace_serving(engine, release(mode), check=check, say=silent)
    assert f"| this is the last line of {mode}" in caught.value.why
    assert served_by(release("good")) == "good"
    assert names_of(engine, release("good").project) == ["serving"]


def test_a_first_release_that_fails_leaves_nothing(engine: DockerClient, release: Release, check: Check) -> None:
    with pytest.raises(HealthError):
        replace_serving(engine, release("wrong"), check=check, say=silent)
    assert names_of(engine, release("wrong").project) == []


def test_an_interrupt_while_the_old_release_stops_lets_it_serve_again(
    engine: DockerClient, release: Release, check: Check
) -> None:
    replace_serving(engine, release("good"), check=check, say=silent)

    def interrupt(line: str) -> None:
        if "stops" in line:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        replace_serving(engine, release("starting"), check=check, say=interrupt)
    assert served_by(release("good")) == "good"
    assert names_of(engine, release("good").project) == ["serving"]


_CUT_OFF = """\
import os, signal, sys
from pathlib import Path
from tests.support.engine import spec_of
from trimtab.images.container import replace_serving
from trimtab.images.engine import connect

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

project, image, port, moment = sys.argv[1:]
spec = spec_of(project, image, port=int(port), models=Path("/tmp"), start_s=30)
if moment == "renamed":
    import docker.models.containers
    docker.models.containers.Container.stop = die
if moment == "stopped":
    import docker.models.containers
    docker.models.containers.ContainerCollection.run = die
replace_serving(connect(), spec, check=die, say=lambda line: None)
"""


@pytest.mark.parametrize(
    ("moment", "left"),
    [("renamed", ["before"]), ("stopped", ["before"]), ("checking", ["before", "serving"])],
)
def test_an_exchange_that_was_killed_is_repaired_by_the_next(
    engine: DockerClient, release: Release, check: Check, moment: str, left: list[str]
) -> None:
    spec = release("good")
    replace_serving(engine, spec, check=check, say=silent)
    argv = (sys.executable, "-c", _CUT_OFF, spec.project, release("better").image, str(spec.port), moment)
    killed = subprocess.run(argv, cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert names_of(engine, spec.project) == left

    with pytest.raises(HealthError):
        replace_serving(engine, release("wrong"), check=check, say=silent)
    assert served_by(spec) == "good"
    assert names_of(engine, spec.project) == ["serving"]
    replace_serving(engine, release("better"), check=check, say=silent)
    assert served_by(spec) == "better"
    assert names_of(engine, spec.project) == ["serving"]


def test_a_port_that_another_program_took_meanwhile_leaves_the_old_release_as_it_was(
    engine: DockerClient, release: Release, check: Check
) -> None:
    replace_serving(engine, release("good"), check=check, say=silent)
    with socket.create_server(("127.0.0.1", 0)) as other:
        moved = replace(release("better"), port=other.getsockname()[1])
        with pytest.raises(ProgramError, match="could not start") as caught:
            replace_serving(engine, moved, check=check, say=silent)
    assert "address already in use" in caught.value.why
    assert served_by(release("good")) == "good"
    assert names_of(engine, moved.project) == ["serving"]


@pytest.mark.parametrize("role", ["serving", "before", "candidate"])
def test_a_stranger_with_our_name_is_refused_and_not_touched(
    engine: DockerClient, release: Release, check: Check, role: str
) -> None:
    spec = release("good")
    stranger = engine.containers.run(
        spec.image, name=spec.name(role), detach=True, environment={"PORT": "8000"}, labels={LABEL_PROJECT: "somebody"}
    )
    try:
        act = try_candidate if role == "candidate" else replace_serving
        with pytest.raises(ProgramError, match=f"the container name {spec.name(role)} is taken") as caught:
            act(engine, spec, check=check, say=silent)
        assert f"docker rename {spec.name(role)}" in caught.value.remedy
        stranger.reload()
        assert (stranger.name, stranger.status) == (spec.name(role), "running")
        assert names_of(engine, spec.project) == []
    finally:
        stranger.remove(force=True)


def test_stopping_all_stops_ours_and_nobody_elses(engine: DockerClient, release: Release, check: Check) -> None:
    spec = release("good")
    replace_serving(engine, spec, check=check, say=silent)
    with tidied_up(engine, unused_project()) as neighbour:
        theirs = replace(spec, project=neighbour, port=free_port())
        replace_serving(engine, theirs, check=check, say=silent)
        assert stop_all(engine, spec.project) == (container_name(spec.project, SERVICE, "serving"),)
        assert names_of(engine, spec.project) == []
        assert served_by(theirs) == "good"
    assert stop_all(engine, spec.project) == ()


class NoBucket:
    """A bucket that nobody may ask for."""

    name = "none"

    def operator(self) -> Any:
        raise AssertionError("the bucket was asked for")

    operator_or_none = operator

    def of_job(self, job: str) -> Any:
        raise AssertionError(f"the bucket was asked for, by {job}")


def service_handler(project: str, port: int, root: Path) -> ServiceHandler:
    services = plain()["services"]
    services[SERVICE]["port"] = port
    known = catalogue(project=project, services=services)
    paths = Project(root=root, catalogue_path=root / "trimtab.yaml", catalogue=known, state=root / "state")
    return ServiceHandler(paths, NoBucket())


SERVE = Serve(service=SERVICE, variant="cpu")


def test_a_port_of_another_program_is_refused_before_anything_is_done(
    project: str, check: Check, tmp_path: Path, engine: DockerClient
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"service gulls cannot have port {port}") as caught:
            service_handler(project, port, tmp_path).preflight(SERVE)
    assert caught.value.exit_code == 2
    assert f"(process {os.getpid()})" in caught.value.why
    assert f"services.{SERVICE}.port in trimtab.yaml" in caught.value.remedy


def test_a_port_that_another_program_holds_on_every_address_is_taken_too() -> None:
    with socket.create_server(("0.0.0.0", 0)) as other:  # noqa: S104 - that is what is tried
        assert port_is_taken(other.getsockname()[1]) is not None
    assert port_is_taken(free_port()) is None


def test_the_port_of_our_own_release_is_not_taken(
    engine: DockerClient, release: Release, check: Check, tmp_path: Path
) -> None:
    spec = release("good")
    replace_serving(engine, spec, check=check, say=silent)
    service_handler(spec.project, spec.port, tmp_path).preflight(SERVE)
    engine.containers.get(spec.name("serving")).rename(spec.name("before"))
    service_handler(spec.project, spec.port, tmp_path).preflight(SERVE)


def test_a_port_taken_while_our_own_release_is_stopped_or_elsewhere_is_refused(
    engine: DockerClient, release: Release, check: Check, tmp_path: Path
) -> None:
    spec = release("good")
    replace_serving(engine, spec, check=check, say=silent)
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UsageError, match="cannot have port"):
        service_handler(spec.project, other.getsockname()[1], tmp_path).preflight(SERVE)
    engine.containers.get(spec.name("serving")).stop(timeout=2)
    with socket.create_server(("127.0.0.1", spec.port)), pytest.raises(UsageError, match="cannot have port"):
        service_handler(spec.project, spec.port, tmp_path).preflight(SERVE)
