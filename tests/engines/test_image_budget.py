"""Images on the real engine: measured by what they add to their base, and kept only within their budget."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.catalogues import catalogue, plain
from tests.support.engine import BASE_IMAGE, SERVICE
from trimtab.errors import BudgetError, ProgramError
from trimtab.images.build import LABEL_PROJECT
from trimtab.images.engine import build_cache_as_before, size_over_base
from trimtab.process import Command, ProcessRunner
from trimtab.project import Project
from trimtab.steps.base import BaseHandler, BuildBase
from trimtab.steps.image import BuildImage, ImageHandler

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.xdist_group("engine")


def silent(_line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Builds the service's image, after its base."""

    base: BaseHandler
    image: ImageHandler

    def run(self, action: BuildImage, say: Callable[[str], None]) -> Mapping[str, Any]:
        if self.base.finished(BASE) is None:
            self.base.run(BASE, say)
        return self.image.run(action, say)

    def finished(self, action: BuildImage) -> Mapping[str, Any] | None:
        return self.image.finished(action)


def image_handler(project: str, root: Path, *, budget: str, **changes: Any) -> Bench:
    services = plain()["services"]
    services[SERVICE]["variants"]["cpu"]["size_over_base"] = budget
    known = catalogue(project=project, base_image=BASE_IMAGE, services=services, **changes)
    paths = Project(root=root, catalogue_path=root / "trimtab.yaml", catalogue=known, state=root / "state")
    image = ImageHandler(paths, ProcessRunner())
    return Bench(base=BaseHandler(paths, ProcessRunner(), image), image=image)


def write_service(root: Path, *, size_bytes: int, base: str = "${BASE}") -> None:
    services = root / "services"
    for folder in ("serving/deep", "base", SERVICE):
        (services / folder).mkdir(parents=True, exist_ok=True)
    (services / "serving" / "deep" / "filling").write_bytes(os.urandom(size_bytes))
    (services / SERVICE / "models.toml").touch()
    (services / "requirements-cpu.lock").touch()
    (services / "base" / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY requirements-cpu.lock /lock\n")
    (services / "Dockerfile").write_text(f"ARG BASE\nFROM {base}\nCOPY serving /app/serving\n")


BUILD = BuildImage(service=SERVICE, variant="cpu")
BASE = BuildBase(variant="cpu", images=(BUILD,))


def tags_of(engine: DockerClient, project: str) -> list[str]:
    found = engine.images.list(all=True, filters={"label": f"{LABEL_PROJECT}={project}"})
    return sorted(tag for image in found for tag in image.tags)


def test_an_image_is_measured_by_what_it_adds_to_its_base(engine: DockerClient, project: str, tmp_path: Path) -> None:
    write_service(tmp_path, size_bytes=3_000_000)
    result = image_handler(project, tmp_path, budget="4MB").run(BUILD, silent)
    assert result["over_base_bytes"] == 3_000_000
    assert result["budget_bytes"] == 4_000_000
    assert tags_of(engine, project) == [f"{project}/base:cpu", f"{project}/{SERVICE}:cpu"]
    assert engine.images.get(result["image"]).id == result["id"]


def test_an_image_of_the_same_inputs_is_not_built_again(engine: DockerClient, project: str, tmp_path: Path) -> None:
    handler = image_handler(project, tmp_path, budget="4MB")
    write_service(tmp_path, size_bytes=1000)
    assert handler.finished(BUILD) is None
    built = handler.run(BUILD, silent)
    standing = handler.finished(BUILD)
    assert standing is not None
    assert standing.items() <= built.items()
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
    assert f"it adds 1.9 MiB to {BASE_IMAGE} and may add 976.6 KiB" in caught.value.why
    assert "what grew most since the image before it: /app/serving/deep 1.0 MiB" in caught.value.why
    assert f"services.{SERVICE}.variants.cpu.size_over_base" in caught.value.remedy
    assert tags_of(engine, project) == [f"{project}/base:cpu", f"{project}/{SERVICE}:cpu"]
    assert engine.images.get(f"{project}/{SERVICE}:cpu").id == before["id"]


def test_a_first_image_over_its_budget_leaves_nothing(engine: DockerClient, project: str, tmp_path: Path) -> None:
    write_service(tmp_path, size_bytes=2_000_000)
    with pytest.raises(BudgetError):
        image_handler(project, tmp_path, budget="1MB").run(BUILD, silent)
    assert tags_of(engine, project) == [f"{project}/base:cpu"]


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
    assert tags_of(engine, project) == [f"{project}/base:cpu"]


def test_a_base_adds_nothing_to_itself(engine: DockerClient) -> None:
    base = engine.images.get(BASE_IMAGE)
    assert size_over_base(base, base) == 0


def test_a_build_that_fails_shows_the_builders_last_lines(project: str, tmp_path: Path) -> None:
    write_service(tmp_path, size_bytes=10)
    dockerfile = tmp_path / "services" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "RUN echo this is what went wrong && exit 9\n")
    with pytest.raises(ProgramError) as caught:
        image_handler(project, tmp_path, budget="1MB").run(BUILD, silent)
    assert caught.value.exit_code == 4
    assert "this is what went wrong" in caught.value.why
    assert "at its peak it took" in caught.value.why
    assert "mend services/Dockerfile" in caught.value.remedy


def test_a_first_image_over_its_budget_is_compared_with_its_base(project: str, tmp_path: Path) -> None:
    write_service(tmp_path, size_bytes=2_000_000)
    with pytest.raises(BudgetError) as caught:
        image_handler(project, tmp_path, budget="1MB").run(BUILD, silent)
    assert "what grew most since its base: /app/serving/deep 1.9 MiB" in caught.value.why


@pytest.mark.parametrize("fails", [False, True], ids=["built", "failed"])
def test_a_build_leaves_nothing_in_the_engines_build_cache(
    engine: DockerClient,
    project: str,
    tmp_path: Path,
    fails: bool,  # noqa: FBT001
) -> None:
    text = f"of {project}"
    write_service(tmp_path, size_bytes=1000)
    dockerfile = tmp_path / "services" / "Dockerfile"
    dockerfile.write_text(f"{dockerfile.read_text()}RUN echo {text} > /text && exit {int(fails)}\n")
    with pytest.raises(ProgramError) if fails else nullcontext():
        image_handler(project, tmp_path, budget="1MB").run(BUILD, silent)
    with build_cache_as_before(engine):  # waits until the engine counts
        records = engine.df()["BuildCache"] or ()
    assert [record["ID"] for record in records if text in record["Description"]] == []


def test_an_older_build_cache_is_left_alone(engine: DockerClient, project: str, tmp_path: Path) -> None:
    text = f"older than {project}"
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nRUN echo {text} > /text\n")
    argv = ("docker", "buildx", "build", "--builder", "default", "--quiet", str(tmp_path))
    with build_cache_as_before(engine):
        ProcessRunner().run(Command(argv=argv))
        write_service(tmp_path / "project", size_bytes=1000)
        image_handler(project, tmp_path / "project", budget="1MB").run(BUILD, silent)
        records = [record["Description"] for record in engine.df()["BuildCache"] or ()]
        assert [record for record in records if text in record]


def test_two_services_on_one_base_share_its_layers_and_a_changed_one_is_built_alone(
    engine: DockerClient, project: str, tmp_path: Path
) -> None:
    write_service(tmp_path, size_bytes=1000)
    services = {**plain()["services"], "terns": {**plain()["services"][SERVICE], "port": 9002}}
    (tmp_path / "services" / "terns").mkdir()
    (tmp_path / "services" / "terns" / "models.toml").touch()
    known = catalogue(project=project, base_image=BASE_IMAGE, services=services)
    handler = ImageHandler(
        Project(root=tmp_path, catalogue_path=tmp_path / "t", catalogue=known, state=tmp_path / "s"), ProcessRunner()
    )
    both = [BuildImage(service=name, variant="cpu") for name in (SERVICE, "terns")]
    image_handler(project, tmp_path, budget="1MB").run(both[0], silent)
    handler.run(both[1], silent)
    base, *images = (
        engine.images.get(f"{project}/{name}:cpu").attrs["RootFS"]["Layers"] for name in ("base", SERVICE, "terns")
    )
    assert [layers[: len(base)] for layers in images] == [base, base]
    (tmp_path / "services" / "terns" / "models.toml").write_text("# changed\n")
    assert [handler.finished(action) is not None for action in both] == [True, False]
