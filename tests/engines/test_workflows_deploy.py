"""docker-deploy.yml and sequential-deploy.yml, run by act: real builds, released on this engine, pushed to a registry.

The services are the harbour's: small ones that behave as their models.toml says, on the project's own Dockerfile.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.support import catalogues
from tests.support.act import Checkout, Run
from tests.support.engine import ROOT, free_port, tidied_up, unused_project
from tests.support.registry import Registry, registry

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = [pytest.mark.xdist_group("engine"), pytest.mark.timeout(600)]

GULLS, TERNS = "gulls", "terns"
BUILD = "Build, verify, push"


@dataclass(frozen=True, slots=True, kw_only=True)
class Harbour:
    """Two services in a checkout of their own, and the registry that their images go to."""

    checkout: Checkout
    registry: Registry
    project: str
    ports: dict[str, int]

    def set_mode(self, service: str, mode: str) -> None:
        """Change what a service is made from, and commit it."""
        folder = self.checkout.root / "services" / service
        folder.mkdir(exist_ok=True)
        digest = hashlib.sha256(service.encode()).hexdigest()
        (folder / "models.toml").write_text(
            f'mode = "{mode}"\n[models.{service}]\nfile = "{service}.bin"\nkey = "models/{service}.bin"\n'
            f'bytes = {len(service)}\nsha256 = "{digest}"\n'
        )
        shutil.copy(ROOT / "services/yolo-combined/golden/astronaut.jpg", folder / "golden.jpg")

    def push(self) -> Run:
        """Commit, and run docker-deploy.yml as a push does."""
        self.checkout.commit()
        return self.checkout.act("docker-deploy", "push")

    def look(self) -> Run:
        """Commit, and run only what finds out what a push must deploy."""
        self.checkout.commit()
        return self.checkout.act("docker-deploy", "push", options=("--job", "changed"))

    def dispatch(self, **inputs: str) -> Run:
        """Commit, and run sequential-deploy.yml with what a person filled in."""
        self.checkout.commit()
        return self.checkout.act("sequential-deploy", "workflow_dispatch", inputs=inputs)

    def serving(self, service: str) -> dict[str, Any]:
        """Return what a service answers where it is released."""
        answer: dict[str, Any] = requests.get(f"http://127.0.0.1:{self.ports[service]}/health", timeout=10).json()
        return answer

    def tags(self, service: str) -> tuple[str, ...]:
        """Return the tags that the registry holds of a service."""
        return self.registry.tags(f"{self.project}/{service}")


@pytest.fixture(scope="module")
def harbour(engine: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harbour]:
    """Give the harbour after its first push. The runner is a machine of one's own, whose jobs share a disk."""
    folder = tmp_path_factory.mktemp("harbour")
    ports = {GULLS: free_port(), TERNS: free_port()}
    with registry(folder / "registry") as running, tidied_up(engine, unused_project()) as project:
        text = catalogues.text(
            project=project,
            services={name: service_section(name, port) for name, port in ports.items()},
            registry={"kind": "plain", "address": running.address},
            ci={"runner": "self-hosted", "shares_disk": True},
        )
        made = Harbour(checkout=Checkout(folder, catalogue=text), registry=running, project=project, ports=ports)
        lay_out_services(made.checkout.root / "services")
        for name in ports:
            made.set_mode(name, "good")
        first = made.push()
        assert first.code == 0, first.told()
        assert sorted(one["service"] for one in first.matrix("deploy")) == [GULLS, TERNS]
        (_, first_end), (second_start, _) = first.spans("deploy")
        assert first_end <= second_start, "they share a disk"
        assert first.job("all-green") == "success"
        yield made


def service_section(name: str, port: int) -> dict[str, Any]:
    """Return a service's section of the catalogue: gulls are seen by all of them."""
    section: dict[str, Any] = catalogues.plain()["services"][GULLS]
    section["golden"]["picture"] = f"services/{name}/golden.jpg"
    return {**section, "port": port}


def lay_out_services(services: Path) -> None:
    """Put the harbour's services in the place of the project's, on the project's own services/Dockerfile."""
    dockerfile = (services / "Dockerfile").read_text()
    shutil.rmtree(services)
    shutil.copytree(ROOT / "tests/support/act_services", services, ignore=shutil.ignore_patterns("__pycache__"))
    (services / "Dockerfile").write_text(dockerfile)
    (services / "requirements-cpu.lock").write_text("# Nothing: these services need Python alone.\n")
    shutil.copy(ROOT / "tests/support/release/server.py", services / "serving")
    for package in (services, services / "serving", services / "model_zoo"):
        (package / "__init__.py").write_text("")


def test_a_push_that_changes_nothing_deploys_nothing_and_a_change_rebuilds_only_its_service(harbour: Harbour) -> None:
    assert (len(harbour.tags(GULLS)), len(harbour.tags(TERNS))) == (1, 1)
    assert harbour.serving(GULLS)["release"] == "good"

    nothing = harbour.push()
    assert (nothing.code, nothing.matrix("deploy"), nothing.job("all-green")) == (0, [], "success"), nothing.told()

    harbour.set_mode(TERNS, "better")
    change = harbour.push()
    assert change.code == 0, change.told()
    assert [one["service"] for one in change.matrix("deploy")] == [TERNS]
    assert f"`push:{TERNS}:cpu` | done" in change.summary("deploy")
    assert "xychart-beta" in change.summary("deploy")
    assert (len(harbour.tags(GULLS)), len(harbour.tags(TERNS))) == (1, 2)
    assert (harbour.serving(GULLS)["release"], harbour.serving(TERNS)["release"]) == ("good", "better")


def test_a_service_that_fails_stops_no_other_serves_on_and_is_tried_again(harbour: Harbour) -> None:
    before, mode = harbour.tags(GULLS), harbour.serving(TERNS)["release"]
    harbour.set_mode(GULLS, "wrong")  # healthy, and sees three gulls where there is one
    harbour.set_mode(TERNS, "best")
    run = harbour.push()
    assert run.code != 0
    assert run.step("deploy", BUILD, service=GULLS) == "failure", run.told()
    assert run.step("deploy", BUILD, service=TERNS) == "success", run.told()
    assert (run.job("deploy"), run.job("all-green")) == ("failure", "failure")
    assert "**failed**" in run.summary("deploy")
    assert harbour.tags(GULLS) == before, "what does not answer rightly is not pushed"
    assert (harbour.serving(GULLS)["release"], harbour.serving(TERNS)["release"]) == ("good", "best")

    assert listed(harbour.look()) == [GULLS], "it is tried again, though nothing changed since"
    harbour.set_mode(GULLS, "good")
    assert listed(harbour.look()) == [], "what the registry held before, and what serves, is not deployed again"
    harbour.set_mode(TERNS, mode)
    assert listed(harbour.look()) == [TERNS], "the registry holds it, and another release serves"
    harbour.set_mode(TERNS, "best")


def test_a_person_deploys_one_service_or_all_in_one_job(harbour: Harbour) -> None:
    harbour.set_mode(GULLS, "sequential")
    harbour.set_mode(TERNS, "sequential")
    one = harbour.dispatch(service=GULLS, variant="cpu", cleanup_after="true")
    assert one.code == 0, one.told()
    assert (one.step("deploy", GULLS), one.step("deploy", TERNS)) == ("success", "skipped")
    assert one.step("deploy", "Clean up") == "success"
    assert harbour.serving(GULLS)["release"] == "sequential"
    assert harbour.serving(TERNS)["release"] != "sequential"

    harbour.set_mode(GULLS, "wrong")
    every = harbour.dispatch(service="all", variant="cpu", cleanup_after="false")
    assert every.code != 0
    assert (every.step("deploy", GULLS), every.step("deploy", TERNS)) == ("failure", "success"), every.told()
    assert every.step("deploy", "Clean up") == "skipped"
    assert (harbour.serving(GULLS)["release"], harbour.serving(TERNS)["release"]) == ("sequential", "sequential")
    assert "steps failed" in every.summary("deploy")


def test_a_person_builds_what_did_not_change_too(harbour: Harbour) -> None:
    everything = {"everything": "true"}
    run = harbour.checkout.act("docker-deploy", "workflow_dispatch", inputs=everything, options=("--job", "changed"))
    assert listed(run) == [GULLS, TERNS]


def listed(run: Run) -> list[str]:
    """Return the services that the job `changed` found."""
    assert run.code == 0, run.told()
    return [one["service"] for one in json.loads(run.output("changed", "images"))]
