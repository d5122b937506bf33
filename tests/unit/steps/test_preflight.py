"""What each handler refuses before anything is written, and what it hands to other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.catalogues import catalogue
from tests.support.runner import RecordingRunner
from trimtab.errors import ProgramError, UsageError
from trimtab.project import Project
from trimtab.steps.base import BaseHandler, BuildBase
from trimtab.steps.dataset import DatasetHandler, PushData
from trimtab.steps.image import BuildImage, ImageHandler
from trimtab.steps.provision import Provision, ProvisionHandler
from trimtab.steps.training import Train, TrainingHandler
from trimtab.steps.weights import PublishWeights, WeightsHandler


class NoBucket:
    """A bucket whose AWS does not run."""

    name = "harbour-charts-dev"

    def operator(self) -> Any:
        raise ProgramError("the AWS does not run", why="nobody started it", remedy="start it")

    def operator_or_none(self) -> None:
        return None

    def of_job(self, job: str) -> Any:
        raise ProgramError(f"the AWS does not run for {job}", why="nobody started it", remedy="start it")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a project whose folder is empty."""
    return Project(
        root=tmp_path, catalogue_path=tmp_path / "trimtab.yaml", catalogue=catalogue(), state=tmp_path / ".trimtab"
    )


@pytest.fixture
def runner() -> RecordingRunner:
    return RecordingRunner()


def cases(project: Project, runner: RecordingRunner) -> dict[str, tuple[Any, Any, str]]:
    """Return for each handler an action and the file that it cannot do without."""
    bucket = NoBucket()
    publish = PublishWeights(service="gulls")
    return {
        "provision": (ProvisionHandler(project, runner), Provision(stack="dev"), "infra/embedded.py"),
        "models": (WeightsHandler(project, runner, bucket), publish, "services/gulls/models.toml"),
        "data": (DatasetHandler(project, runner, bucket), PushData(job="tides"), "training/tides/source.py"),
        "image": (ImageHandler(project, runner), BUILD, "services/Dockerfile"),
        "service": (ImageHandler(project, runner), BUILD, "services/gulls/models.toml"),
        "base": (BaseHandler(project, runner, ImageHandler(project, runner)), BASE, "services/base/Dockerfile"),
        "lock": (BaseHandler(project, runner, ImageHandler(project, runner)), BASE, "services/requirements-cpu.lock"),
        "program": (TrainingHandler(project, runner, bucket), Train(job="tides"), "training/tides/__main__.py"),
        "configuration": (TrainingHandler(project, runner, bucket), Train(job="tides"), "configs/local/tides.yaml"),
    }


BUILD = BuildImage(service="gulls", variant="cpu")
BASE = BuildBase(variant="cpu", images=(BUILD,))
FILES = {
    "infra/embedded.py": "",
    "services/gulls/models.toml": "[models]\n",
    "services/Dockerfile": "",
    "services/base/Dockerfile": "",
    "services/requirements-cpu.lock": "",
    "training/tides/source.py": "",
    "training/tides/__main__.py": "",
    "configs/local/tides.yaml": "",
}


def lay_out(root: Path, *, without: str = "") -> None:
    for name, content in FILES.items():
        if name != without:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)


@pytest.mark.parametrize(
    "case", ["provision", "models", "data", "image", "service", "base", "lock", "program", "configuration"]
)
def test_a_missing_file_is_refused_with_2_before_anything_runs(
    project: Project, runner: RecordingRunner, case: str
) -> None:
    handler, action, needed = cases(project, runner)[case]
    lay_out(project.root, without=needed)
    with pytest.raises(UsageError) as caught:
        handler.preflight(action)
    assert Path(needed).name in caught.value.why
    assert caught.value.exit_code == 2
    assert runner.commands == []
    lay_out(project.root)
    handler.preflight(action)
    assert not project.state.exists()


@pytest.mark.parametrize("case", ["provision", "models", "data", "program"])
def test_nothing_is_finished_while_the_aws_does_not_run(project: Project, runner: RecordingRunner, case: str) -> None:
    handler, action, _ = cases(project, runner)[case]
    lay_out(project.root)
    assert handler.finished(action) is None
    assert runner.commands == []


def test_provisioning_applies_the_program_and_hands_up_what_it_made(project: Project, runner: RecordingRunner) -> None:
    runner.answers["up"] = '{"outputs": {"bucket": "b", "modal_role_arns": {"tides": "arn"}}, "notes": ["n"]}'
    runner.says = ("the bucket", "the roles")
    said: list[str] = []
    result = ProvisionHandler(project, runner).run(Provision(stack="dev"), said.append)
    assert said == ["the bucket", "the roles"]
    assert result == {"bucket": "b", "roles": {"tides": "arn"}, "notes": ["n"]}
    (command,) = runner.commands
    assert command.argv == (
        sys.executable, "-m", "infra.embedded", "up",
        "--stack", "dev",
        "--catalogue", str(project.root / "trimtab.yaml"),
        "--state-dir", str(project.state / "aws"),
        "--json",
    )  # fmt: skip
    assert command.cwd == project.root
    assert command.house


def test_a_source_that_fails_stops_before_the_bucket_is_asked(project: Project, runner: RecordingRunner) -> None:
    runner.answers["training.tides.source"] = ProgramError("it broke", why="w", remedy="r")
    with pytest.raises(ProgramError, match="it broke"):
        DatasetHandler(project, runner, NoBucket()).run(PushData(job="tides"), print)
    (command,) = runner.commands
    assert command.argv[:-1] == (sys.executable, "-m", "training.tides.source", "--out")
    assert Path(command.argv[-1]).parent == project.state / "cache" / "datasets"


def test_models_are_made_by_the_zoo_from_the_services_own_manifest(project: Project, runner: RecordingRunner) -> None:
    lay_out(project.root)
    with pytest.raises(ProgramError, match="the AWS does not run"):
        WeightsHandler(project, runner, NoBucket()).run(PublishWeights(service="gulls"), print)
    npm, zoo = runner.commands
    assert npm.argv == (str(project.root / "scripts" / "setup-npm"),)
    assert zoo.argv == (
        sys.executable, "-m", "services.model_zoo", "fetch",
        "--out", str(project.state / "cache" / "models"),
        "--manifest", str(project.root / "services" / "gulls" / "models.toml"),
    )  # fmt: skip
