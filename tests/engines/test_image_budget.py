"""Images on the real engine: measured by what they add to their base, and kept only within their budget."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.catalogues import catalogue, plain
from tests.support.engine import BASE_IMAGE, SERVICE
from trimtab.errors import BudgetError, ProgramError
from trimtab.images.build import LABEL_PROJECT
from trimtab.images.engine import size_over_base
from trimtab.process import ProcessRunner
from trimtab.project import Project
from trimtab.steps.image import BuildImage, ImageHandler

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.xdist_group("engine")


def silent(_line: str) -> None:
    """Say nothing."""


def image_handler(project: str, root: Path, *, budget: str) -> ImageHandler:
    services = plain()["services"]
    services[SERVICE]["variants"]["cpu"]["size_over_base"] = budget
    known = catalogue(project=project, base_image=BASE_IMAGE, services=services)
    paths = Project(root=root, catalogue_path=root / "trimtab.yaml", catalogue=known, state=root / "state")
    return ImageHandler(paths, ProcessRunner())


def write_service(root: Path, *, size_bytes: int, base: str = "${BASE}") -> None:
    folder = root / "services" / SERVICE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "filling").write_bytes(os.urandom(size_bytes))
    (folder / "Dockerfile").write_text(f"ARG BASE\nFROM {base}\nCOPY {SERVICE}/filling /filling\n")


BUILD = BuildImage(service=SERVICE, variant="cpu")


def tags_of(engine: DockerClient, project: str) -> list[str]:
    found = engine.images.list(all=True, filters={"label": f"{LABEL_PROJECT}={project}"})
    return sorted(tag for image in found for tag in image.tags)


def test_an_image_is_measured_by_what_it_adds_to_its_base(engine: DockerClient, project: str, tmp_path: Path) -> None:
    write_service(tmp_path, size_bytes=3_000_000)
    result = image_handler(project, tmp_path, budget="4MB").run(BUILD, silent)
    assert result["over_base_bytes"] == 3_000_000
    assert result["budget_bytes"] == 4_000_000
    assert tags_of(engine, project) == [f"{project}/{SERVICE}:cpu"]
    assert engine.images.get(result["image"]).id == result["id"]


def test_an_image_of_the_same_inputs_is_not_built_again(engine: DockerClient, project: str, tmp_path: Path) -> None:
    handler = image_handler(project, tmp_path, budget="4MB")
    write_service(tmp_path, size_bytes=1000)
    assert handler.finished(BUILD) is None
    built = handler.run(BUILD, silent)
    assert handler.finished(BUILD) == built
    write_service(tmp_path, size_bytes=1000)
    assert handler.finished(BUILD) is None


def test_an_image_over_its_budget_is_exit_code_6_and_the_one_before_it_stays(
    engine: DockerClient, project: str, tmp_path: Path
) -> None:
    handler = image_handler(project, tmp_path, budget="1MB")
    write_service(tmp_path, size_bytes=900_000)
    before = handler.run(BUILD, silent)
    write_service(tmp_path, size_bytes=2_000_000)
    with pytest.raises(BudgetError, match="over its size budget and was not kept") as caught:
        handler.run(BUILD, silent)
    assert caught.value.exit_code == 6
    assert "it adds 1.9 MiB to its base and may add 976.6 KiB; its largest layer" in caught.value.why
    assert f"services.{SERVICE}.variants.cpu.size_over_base" in caught.value.remedy
    assert tags_of(engine, project) == [f"{project}/{SERVICE}:cpu"]
    assert engine.images.get(f"{project}/{SERVICE}:cpu").id == before["id"]


def test_a_first_image_over_its_budget_leaves_nothing(engine: DockerClient, project: str, tmp_path: Path) -> None:
    write_service(tmp_path, size_bytes=2_000_000)
    with pytest.raises(BudgetError):
        image_handler(project, tmp_path, budget="1MB").run(BUILD, silent)
    assert engine.images.list(all=True, filters={"label": f"{LABEL_PROJECT}={project}"}) == []


def test_an_image_whose_budget_was_cut_is_not_taken_for_finished(
    engine: DockerClient, project: str, tmp_path: Path
) -> None:
    write_service(tmp_path, size_bytes=900_000)
    image_handler(project, tmp_path, budget="1MB").run(BUILD, silent)
    cut = image_handler(project, tmp_path, budget="500kB")
    assert cut.finished(BUILD) is None
    with pytest.raises(BudgetError):
        cut.run(BUILD, silent)


def test_an_image_on_a_foreign_base_is_refused(engine: DockerClient, project: str, tmp_path: Path) -> None:
    write_service(tmp_path, size_bytes=1000, base="scratch")
    with pytest.raises(ProgramError, match=f"does not stand on {BASE_IMAGE}"):
        image_handler(project, tmp_path, budget="1MB").run(BUILD, silent)
    assert tags_of(engine, project) == []


def test_a_base_adds_nothing_to_itself(engine: DockerClient) -> None:
    base = engine.images.get(BASE_IMAGE)
    assert size_over_base(base, base) == 0


def test_a_build_that_fails_shows_the_builders_last_lines(project: str, tmp_path: Path) -> None:
    write_service(tmp_path, size_bytes=10)
    dockerfile = tmp_path / "services" / SERVICE / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "RUN echo this is what went wrong && exit 9\n")
    with pytest.raises(ProgramError) as caught:
        image_handler(project, tmp_path, budget="1MB").run(BUILD, silent)
    assert caught.value.exit_code == 4
    assert "this is what went wrong" in caught.value.why
    assert f"mend services/{SERVICE}/Dockerfile" in caught.value.remedy
