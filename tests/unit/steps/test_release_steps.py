"""What the steps of a release refuse before anything is done, and what they hand to ssh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.catalogues import catalogue
from tests.support.runner import RecordingRunner
from trimtab.errors import ProgramError, UsageError
from trimtab.images.estimate import Declared
from trimtab.project import Project
from trimtab.steps.front import BuildFront, FrontHandler
from trimtab.steps.rollback import RollBack, RollBackHandler, rollback_step
from trimtab.steps.service import Serve, ServiceHandler, identity_of, service_step


class NoBucket:
    """A bucket that nobody may ask for."""

    name = "none"

    def operator(self) -> Any:
        raise AssertionError("the bucket was asked for")

    operator_or_none = operator

    def of_job(self, job: str) -> Any:
        raise AssertionError(f"the bucket was asked for, by {job}")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    known = catalogue()
    picture = tmp_path / known.services["gulls"].golden.picture
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"a picture")
    return Project(root=tmp_path, catalogue_path=tmp_path / "trimtab.yaml", catalogue=known, state=tmp_path / "state")


def service(project: Project, runner: RecordingRunner) -> ServiceHandler:
    return ServiceHandler(project, runner, NoBucket())


def test_a_host_is_asked_by_the_system_s_ssh_without_a_question_and_with_its_key_checked(project: Project) -> None:
    runner = RecordingRunner()
    service(project, runner).preflight(Serve(service="gulls", variant="cpu", host="deploy@vm.example:2222"))
    (command,) = runner.commands
    assert command.argv == (
        "ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-p", "2222", "--", "deploy@vm.example",
        "docker version --format '{{.Server.Version}}'",
    )  # fmt: skip
    assert command.timeout_s is not None


@pytest.mark.parametrize("host", ["-oProxyCommand=touch x", "vm; reboot", "$(reboot)"])
def test_what_is_no_host_never_reaches_ssh(project: Project, host: str) -> None:
    runner = RecordingRunner()
    with pytest.raises(UsageError, match="is not a host"):
        service(project, runner).preflight(Serve(service="gulls", variant="cpu", host=host))
    handler = RollBackHandler(project, runner, service(project, runner))
    with pytest.raises(UsageError, match="is not a host"):
        handler.preflight(RollBack(service="gulls", host=host))
    assert runner.commands == []


def test_a_host_that_refuses_is_reported_as_ssh_said_it(project: Project) -> None:
    runner = RecordingRunner()
    runner.answers["ssh"] = ProgramError("`ssh`", why="Host key verification failed.", remedy="r")
    with pytest.raises(ProgramError) as caught:
        service(project, runner).preflight(Serve(service="gulls", variant="cpu", host="vm"))
    assert "Host key verification failed" in caught.value.why


def test_a_golden_picture_that_is_not_there_is_refused(project: Project) -> None:
    (project.root / project.catalogue.services["gulls"].golden.picture).unlink()
    with pytest.raises(UsageError, match="cannot be checked") as caught:
        service(project, RecordingRunner()).preflight(Serve(service="gulls", variant="cpu"))
    assert "services.gulls.golden.picture" in caught.value.remedy


def test_a_project_without_the_front_s_dockerfile_is_refused(project: Project) -> None:
    with pytest.raises(UsageError, match="the front cannot be built"):
        FrontHandler(project, RecordingRunner()).preflight(BuildFront())


def test_a_release_is_planned_with_the_memory_of_two(project: Project) -> None:
    gulls = project.catalogue.services["gulls"]
    assert service_step("gulls", gulls, "cpu", Declared()).predicted.memory_bytes == 2 * gulls.memory
    assert rollback_step("gulls", gulls, to=None, host=None).predicted.memory_bytes == 2 * gulls.memory
    names = [service_step("gulls", gulls, "cpu", Declared(), host=host).name for host in (None, "vm")]
    assert names == ["serve:gulls:cpu", "serve:gulls:cpu@vm"]


def test_whatever_makes_a_release_what_it_is_makes_it_another_one() -> None:
    def identity(digest: str = "d", models: str = "m", **changes: Any) -> str:
        section = catalogue(**{f"services__gulls__{key}": value for key, value in changes.items()}).services["gulls"]
        return identity_of(section, digest=digest, models_volume=models)

    others = [
        identity(digest="e"),
        identity(models="n"),
        identity(memory="512MiB"),
        identity(limits={"results": 7}),
        identity(limits={"upload": "7s"}),
    ]
    assert len({identity(), *others}) == 6
    assert identity() == identity(port=9009)  # the front's, not the release's
