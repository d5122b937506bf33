"""Releases on a machine over SSH: a real sshd, the system's ssh client, and an engine of the machine's own."""

from __future__ import annotations

import gc
import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest

from tests.support.catalogues import catalogue, plain, text
from tests.support.commands import environment, trimtab
from tests.support.engine import SERVICE, free_port, tidied_up, unused_project
from tests.support.models_bucket import ModelsBucket
from tests.support.registry import registry
from tests.support.releases import PICTURE, build_front, build_mode
from tests.support.vm import HOST, Vm, virtual_machine
from trimtab.errors import HealthError, ProgramError, UsageError
from trimtab.images.build import LABEL_INPUTS, LABEL_PROJECT
from trimtab.images.front import front_or_none
from trimtab.images.golden import HttpDoor
from trimtab.images.host import engine_of, require_host
from trimtab.images.inputs import service_inputs
from trimtab.images.registry import push, remote_reference
from trimtab.images.turn import TurnSpec, turn
from trimtab.process import ProcessRunner
from trimtab.project import Project
from trimtab.steps.rollback import RollBack, RollBackHandler
from trimtab.steps.service import Serve, ServiceHandler

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.xdist_group("engine")

SERVE = Serve(service=SERVICE, variant="cpu", host=HOST)
MODEL = b"weights" * 100_000


MANIFEST = (
    f'[models.gulls]\nfile = "gulls.onnx"\nkey = "models/gulls.onnx"\nbytes = {len(MODEL)}\n'
    f'sha256 = "{hashlib.sha256(MODEL).hexdigest()}"\n'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coast:
    """A project on this machine, the machine that it releases to, and what it was told on the way."""

    here: DockerClient
    there: DockerClient
    vm: Vm
    project: Project
    port: int

    @property
    def handler(self) -> ServiceHandler:
        return ServiceHandler(self.project, ProcessRunner(), ModelsBucket({"models/gulls.onnx": MODEL}))

    def deploy(self, image: str) -> tuple[dict[str, Any], list[str]]:
        """Release an image as the catalogue's current one, and return the result and what was said."""
        self.here.images.get(image).tag(f"{self.name}/{SERVICE}", "cpu")
        said: list[str] = []
        self.handler.preflight(SERVE)
        return dict(self.handler.run(SERVE, said.append)), said

    @property
    def name(self) -> str:
        return self.project.catalogue.project

    def served(self) -> str:
        mode: str = json.loads(HttpDoor(f"http://127.0.0.1:{self.port}").ask("/health", timeout_s=5).text)["release"]
        return mode

    def containers(self, client: DockerClient) -> list[str]:
        found = client.containers.list(all=True, filters={"label": f"{LABEL_PROJECT}={self.name}"})
        return sorted(str(container.name) for container in found)


@pytest.fixture(scope="module")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    with virtual_machine(tmp_path_factory.mktemp("vm")) as machine, pytest.MonkeyPatch.context() as environment:
        environment.setenv("PATH", machine.environment["PATH"])
        yield machine


def pin_models(root: Path) -> None:
    """Write what an image of the service is made from, as far as a release looks."""
    path = root / "services" / SERVICE / "models.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MANIFEST)


@pytest.fixture(scope="module")
def images(engine: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("images")
    pin_models(folder)
    inputs = service_inputs(folder, catalogue(), SERVICE, "cpu")
    modes = ("good", "better", "wrong", "pushed")
    with tidied_up(engine, unused_project()) as project:
        yield {mode: build_mode(project, mode, folder / mode, inputs=inputs) for mode in modes}


@pytest.fixture
def coast(engine: DockerClient, vm: Vm, project: str, tmp_path: Path) -> Iterator[Coast]:
    port = free_port()
    services = plain()["services"]
    services[SERVICE]["port"] = port
    (tmp_path / "trimtab.yaml").write_text(text(project=project, services=services))
    known = catalogue(project=project, services=services)
    files = {
        known.services[SERVICE].golden.picture: PICTURE,
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    pin_models(tmp_path)
    build_front(engine, project)
    where = Project(root=tmp_path, catalogue_path=tmp_path / "trimtab.yaml", catalogue=known, state=tmp_path / "state")
    there = docker.DockerClient(base_url=vm.socket)
    with tidied_up(there, project):
        yield Coast(here=engine, there=there, vm=vm, project=where, port=port)
    there.close()


def test_a_release_travels_to_the_host_whole_and_serves_there(coast: Coast, images: dict[str, str]) -> None:
    result, said = coast.deploy(images["good"])
    assert (result["release"], result["host"], result["digest"]) == (1, HOST, images["good"])
    assert any(line.startswith("100 % of the image") for line in said)
    assert coast.served() == "good"
    assert coast.containers(coast.here) == []
    assert coast.containers(coast.there) == [f"{coast.name}-{SERVICE}-1", f"{coast.name}-{SERVICE}-front"]
    live = coast.there.containers.get(f"{coast.name}-{SERVICE}-1")
    checked = live.exec_run(["sha256sum", "/models/gulls.onnx"]).output.decode()
    assert checked.split()[0] == hashlib.sha256(MODEL).hexdigest()
    front = coast.there.containers.get(f"{coast.name}-{SERVICE}-front")
    assert front.ports["8000/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(coast.port)}]


def test_what_is_there_already_does_not_travel_again(coast: Coast, images: dict[str, str]) -> None:
    coast.deploy(images["good"])
    result, said = coast.deploy(images["good"])
    assert result["release"] == 1
    assert not any("of the image" in line or "into volume" in line for line in said)


def test_a_bad_release_is_refused_there_and_the_old_one_serves(coast: Coast, images: dict[str, str]) -> None:
    coast.deploy(images["good"])
    with pytest.raises(HealthError, match="wrong answer to the golden request") as caught:
        coast.deploy(images["wrong"])
    assert "| this is the last line of wrong" in caught.value.why
    assert coast.served() == "good"
    assert coast.containers(coast.there) == [f"{coast.name}-{SERVICE}-1", f"{coast.name}-{SERVICE}-front"]


def test_an_image_that_others_sources_made_is_not_released_as_ours(coast: Coast, images: dict[str, str]) -> None:
    manifest = coast.project.root / "services" / SERVICE / "models.toml"
    manifest.write_text(f"{MANIFEST}# our own sources\n")
    with pytest.raises(ProgramError, match="is not made from these sources") as caught:
        coast.deploy(images["good"])
    assert "run the same command again" in caught.value.remedy
    assert coast.containers(coast.there) == []


def test_a_rollback_that_waited_does_not_undo_what_it_did_not_know(coast: Coast, images: dict[str, str]) -> None:
    coast.deploy(images["good"])
    coast.deploy(images["better"])
    rolling = RollBackHandler(coast.project, ProcessRunner(), coast.handler)
    spec = TurnSpec(project=coast.name, service=SERVICE, image=images["good"], purpose="release of commit c0de")
    with ThreadPoolExecutor() as beside, turn(coast.there, spec, say=print) as mine:
        waits = threading.Event()
        waiting = beside.submit(rolling.run, RollBack(service=SERVICE, host=HOST), lambda _line: waits.set())
        assert waits.wait(30)
        front = front_or_none(coast.there, coast.name, SERVICE)
        assert front is not None
        mine.require()
        front.put_in_force(replace(front.record(), live=1), target=f"{coast.name}-{SERVICE}-2:8000")
    with pytest.raises(UsageError, match=f"{SERVICE} was not rolled back") as caught:
        waiting.result(60)
    assert "release 1 took over from 2" in caught.value.why


def test_a_rollback_there_needs_neither_a_registry_nor_our_images(coast: Coast, images: dict[str, str]) -> None:
    coast.deploy(images["good"])
    coast.deploy(images["better"])
    coast.there.images.prune(filters={"dangling": True})
    root = coast.project.root
    env = environment(TRIMTAB_STATE=str(coast.project.state), **coast.vm.environment, DOCKER_HOST="unix:///nowhere")
    ended = trimtab("images", "rollback", SERVICE, "--host", HOST, "--json", cwd=root, env=env)
    assert ended.code == 0, ended.err
    (step,) = ended.document["steps"]
    assert (step["result"]["rolled_back_to"], step["result"]["digest"]) == (1, images["good"])
    assert coast.served() == "good"
    listed = trimtab("images", "releases", SERVICE, "--host", HOST, "--json", cwd=root, env=env)
    states = [(release["number"], release["state"]) for release in listed.document["releases"]]
    assert states == [(3, "live"), (2, "withdrawn"), (1, "healthy")]


def test_an_image_comes_from_the_registry_by_its_digest_and_goes_back_without_it(
    coast: Coast, images: dict[str, str], tmp_path: Path
) -> None:
    with registry(tmp_path / "registry") as running:
        known = coast.project.catalogue.registry.model_copy(update={"kind": "plain", "address": running.address})
        project = replace(coast.project, catalogue=coast.project.catalogue.model_copy(update={"registry": known}))
        pushing = replace(coast, project=project)
        image = coast.here.images.get(images["pushed"])
        inputs = image.labels.get(LABEL_INPUTS, "")
        reference = push(coast.here, image, remote_reference(project.catalogue, SERVICE, "cpu", inputs))
        result, said = pushing.deploy(images["pushed"])
        assert result["reference"] == reference
        assert f"pulled {reference}" in said
    coast.deploy(images["better"])
    env = environment(TRIMTAB_STATE=str(coast.project.state), **coast.vm.environment)
    words = ("images", "rollback", SERVICE, "--to", reference, "--host", HOST)
    ended = trimtab(*words, cwd=coast.project.root, env=env)
    assert ended.code == 0, ended.err
    assert coast.served() == "pushed"


def test_a_host_whose_key_is_not_known_is_refused_and_not_remembered(coast: Coast, images: dict[str, str]) -> None:
    coast.vm.forget_its_key()
    try:
        with pytest.raises(ProgramError) as caught:
            coast.deploy(images["good"])
        assert "Host key verification failed" in caught.value.why
        assert f"`ssh {HOST}`" in caught.value.remedy
        assert (coast.vm.folder / "known_hosts").read_text() == ""
        assert coast.containers(coast.there) == []
    finally:
        coast.vm.know_its_key()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK drops the broken socket open
def test_a_connection_that_breaks_is_said_in_three_parts(coast: Coast) -> None:
    def break_it() -> None:
        with engine_of(HOST, ProcessRunner()) as client:
            cut(coast.vm)
            client.ping()

    with pytest.raises(ProgramError, match=f"the engine of {HOST} went away"):
        break_it()
    gc.collect()  # here, and not in a test that has nothing to do with it


def cut(vm: Vm) -> None:
    for session in _ssh_sessions(vm):
        session.kill()


def _ssh_sessions(vm: Vm) -> list[Any]:
    import psutil

    ours = f"{vm.folder}/ssh_config"
    return [p for p in psutil.process_iter(["cmdline"]) if ours in (p.info["cmdline"] or []) and p.is_running()]


@pytest.mark.parametrize(
    "text", ["", "-oProxyCommand=x", "a b", "user@", "user@-x", "host:port", "host/path", "http://host", "a@b@c"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a host"):
        require_host(text)


@pytest.mark.parametrize("text", ["vm", "vm.example", "deploy@vm.example", "deploy@10.0.0.7:2222", "ssh://deploy@vm"])
def test_a_host_is_taken_as_ssh_takes_it(text: str) -> None:
    assert require_host(text) == text.removeprefix("ssh://")
