"""Images in a real registry on loopback: named by what they are made from, pushed once, and given by digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.catalogues import catalogue
from tests.support.engine import BASE_IMAGE, SERVICE, free_port
from tests.support.registry import registry
from trimtab.console import Console
from trimtab.cost.ledger import Ledger
from trimtab.errors import ProgramError
from trimtab.executor import Executor, RunRecord
from trimtab.images.build import LABEL_PROJECT
from trimtab.images.estimate import Declared
from trimtab.images.registry import remote_digest
from trimtab.process import ProcessRunner
from trimtab.project import Project
from trimtab.steps.engine import EnsureEngine
from trimtab.steps.plans import ImagesWanted, images_plan
from trimtab.steps.wiring import handlers, watched

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.xdist_group("engine")

FILES = {
    "base/Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY requirements-cpu.lock /lock\n",
    "requirements-cpu.lock": "",
    "Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY serving /app/serving\nCOPY gulls/models.toml /app/\n",
    f"{SERVICE}/models.toml": "",
    "serving/app.py": "print()\n",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a registry that holds nothing yet."""
    with registry(tmp_path_factory.mktemp("registry") / "registry") as running:
        yield running.address


class HasEngine:
    """A handler for the engine that is here."""

    def preflight(self, _action: object) -> None:
        """Refuse nothing."""

    def finished(self, _action: object) -> dict[str, str]:
        """Say that it stands."""
        return {}

    def run(self, _action: object, _say: object) -> dict[str, str]:
        raise AssertionError("it stands already")


Build = Callable[..., RunRecord]


@pytest.fixture
def build(engine: DockerClient, project: str, tmp_path: Path) -> Build:
    """Give what builds and pushes the service of a small project."""
    for name, text in FILES.items():
        (tmp_path / "services" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "services" / name).write_text(text)

    def run(address: str, *, keep: bool = False) -> RunRecord:
        known = catalogue(project=project, base_image=BASE_IMAGE, registry={"kind": "plain", "address": address})
        here = Project(root=tmp_path, catalogue_path=tmp_path / "t.yaml", catalogue=known, state=tmp_path / "state")
        executor = Executor(
            {**handlers(here, ProcessRunner()), EnsureEngine: HasEngine()},
            ledger=Ledger(tmp_path / "state" / "ledger.jsonl"),
            console=Console(),
            watched=watched(here),
        )
        wanted = ImagesWanted(services=(), variant="cpu", push=True, keep=keep)
        return executor.run(images_plan(known, {}, Declared(), wanted), run="r1")

    return run


def tags_of(engine: DockerClient, project: str) -> list[str]:
    found = engine.images.list(filters={"label": f"{LABEL_PROJECT}={project}"})
    return sorted(tag for image in found for tag in image.tags)


def test_an_image_is_pushed_by_digest_and_then_makes_room(
    engine: DockerClient, project: str, build: Build, address: str
) -> None:
    record = build(address)
    pushed = record.result(f"push:{SERVICE}:cpu")
    repository, _, digest = pushed["reference"].partition("@")
    assert repository == f"{address}/{project}/{SERVICE}"
    assert remote_digest(engine, pushed["name"]) == digest
    assert tags_of(engine, project) == [f"{project}/base:cpu"]


def test_what_the_registry_holds_is_neither_built_nor_pushed_again(
    engine: DockerClient, project: str, build: Build, address: str
) -> None:
    first = build(address)
    engine.images.remove(f"{project}/base:cpu")
    again = build(address)
    assert {outcome.outcome for outcome in again.outcomes} == {"already done"}
    assert again.result(f"push:{SERVICE}:cpu")["reference"] == first.result(f"push:{SERVICE}:cpu")["reference"]
    assert tags_of(engine, project) == []


def test_a_changed_service_is_built_and_pushed_under_another_name(build: Build, address: str, tmp_path: Path) -> None:
    before = build(address).result(f"push:{SERVICE}:cpu")["name"]
    (tmp_path / "services" / SERVICE / "models.toml").write_text("# changed\n")
    record = build(address)
    assert {outcome.step.name: outcome.outcome for outcome in record.outcomes} == {
        "engine": "already done", "base:cpu": "already done",
        f"image:{SERVICE}:cpu": "done", f"push:{SERVICE}:cpu": "done",
    }  # fmt: skip
    assert record.result(f"push:{SERVICE}:cpu")["name"] != before


def test_an_image_that_is_kept_stays_under_its_own_name(
    engine: DockerClient, project: str, build: Build, address: str
) -> None:
    build(address, keep=True)
    assert tags_of(engine, project) == [f"{project}/base:cpu", f"{project}/{SERVICE}:cpu"]


def test_a_registry_that_does_not_answer_is_an_error_before_anything_is_built(
    engine: DockerClient, project: str, build: Build
) -> None:
    with pytest.raises(ProgramError) as caught:
        build(f"127.0.0.1:{free_port()}")
    assert "connection refused" in caught.value.why
    assert tags_of(engine, project) == []
