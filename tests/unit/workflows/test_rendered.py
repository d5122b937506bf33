"""Every workflow of every catalogue keeps the rules, and the repository's own are what its catalogue says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.golden.workflows_makers import worlds
from tests.support.catalogues import catalogue
from trimtab.catalogue import load_catalogue
from workflows.rendered import FOLDER, differences, render

ROOT = Path(__file__).resolve().parents[3]
FILES = {
    f"{world}/{Path(path).stem}": text
    for world, of in {"own": load_catalogue(ROOT / "trimtab.yaml"), **worlds()}.items()
    for path, text in render(of).items()
}


def parsed(text: str) -> dict[str, Any]:
    # As text: YAML 1.1 takes the key `on` for true.
    document: dict[str, Any] = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - it makes nothing but text
    return document


def steps(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in document["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_workflow_grants_nothing_and_each_job_only_what_it_says_why_for(text: str) -> None:
    assert parsed(text)["permissions"] == {}
    for job in parsed(text)["jobs"].values():
        assert set(job["permissions"]) <= {"contents", "packages", "id-token"}
        assert job["permissions"].get("contents", "read") == "read"
    granted = re.findall(r"^ {6}(?:contents|packages|id-token): \w+(.*)$", text, re.MULTILINE)
    assert all(reason.startswith(" # ") for reason in granted)


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_job_ends_long_before_github_ends_it(text: str) -> None:
    assert all(int(job["timeout-minutes"]) <= 120 for job in parsed(text)["jobs"].values())
    assert set(parsed(text)["concurrency"]) == {"group", "cancel-in-progress"}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_nothing_is_used_but_our_own_actions_and_checkout_by_its_commit(text: str) -> None:
    used = {step["uses"] for step in steps(parsed(text)) if "uses" in step}
    others = {name for name in used if not name.startswith("./.github/actions/")}
    assert all(re.fullmatch(r"actions/checkout@[0-9a-f]{40}", name) for name in others)
    for step in steps(parsed(text)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": "false"}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_no_script_holds_an_expression(text: str) -> None:
    assert [step["run"] for step in steps(parsed(text)) if "${{" in step.get("run", "")] == []
    assert "pull_request_target" not in text
    assert not re.search(r"^\s*[\w-]+: [&*]", text, re.MULTILINE)


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_secret_reaches_only_the_environment(text: str) -> None:
    lines = [line.strip() for line in text.splitlines() if "secrets." in line or "github.token" in line]
    assert all(re.fullmatch(r"[A-Z_]+: \$\{\{ [\w.]+ \}\}( # zizmor: ignore.*)?", line) for line in lines)


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_file_says_how_it_is_made(text: str) -> None:
    assert text.startswith("# Rendered from trimtab.yaml by `python -m workflows`. DO NOT EDIT")
    source = re.search(r"edit (\S+),", text)
    assert source
    assert (ROOT / source[1]).is_file()


@pytest.mark.parametrize("name", load_catalogue(ROOT / "trimtab.yaml").services)
def test_every_service_of_the_catalogue_can_be_chosen_and_has_a_step(name: str) -> None:
    document = parsed(FILES["own/sequential-deploy"])
    assert name in document["on"]["workflow_dispatch"]["inputs"]["service"]["options"]
    (step,) = [step for step in steps(document) if step["name"] == name]
    assert f"--deploy-seq {name} " in step["run"]


@pytest.mark.parametrize("name", load_catalogue(ROOT / "trimtab.yaml").jobs)
def test_every_job_of_the_catalogue_can_be_trained_on_modal(name: str) -> None:
    assert name in parsed(FILES["own/modal-train"])["on"]["workflow_dispatch"]["inputs"]["job"]["options"]


def test_where_jobs_share_a_disk_images_are_built_one_after_the_other() -> None:
    assert parsed(FILES["own-machine/docker-deploy"])["jobs"]["deploy"]["strategy"]["max-parallel"] == "1"
    assert "max-parallel" not in parsed(FILES["branch-deploys-to-ghcr/docker-deploy"])["jobs"]["deploy"]["strategy"]


def test_without_a_repository_in_the_catalogue_nothing_touches_aws() -> None:
    assert list(parsed(FILES["own-machine/infra"])["jobs"]) == ["embedded"]


def test_rendering_twice_gives_the_same_text() -> None:
    assert render(catalogue()) == render(catalogue())


def test_the_differences_name_what_is_missing_changed_and_left_over() -> None:
    assert list(differences({"a": "1\n"}, {"a": "1\n"})) == []
    assert "+1" in next(differences({"a": "1\n"}, {}))
    assert "-2" in next(differences({"a": "1\n"}, {"a": "2\n"}))
    assert "nobody renders it" in next(differences({}, {"a": ""}))


def test_the_workflows_of_this_repository_are_current() -> None:
    assert check(ROOT).returncode == 0, check(ROOT).stdout


def check(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "workflows", "--root", str(root), *(arguments or ("--check",))]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_file_that_was_edited_is_drift_and_rendering_mends_it(tmp_path: Path) -> None:
    (tmp_path / "trimtab.yaml").write_text((ROOT / "trimtab.yaml").read_text())
    assert check(tmp_path, "--root", str(tmp_path)).returncode == 0
    assert check(tmp_path).returncode == 0
    edited = tmp_path / FOLDER / "ci.yml"
    edited.write_text(edited.read_text().replace("timeout-minutes: 60", "timeout-minutes: 600"))
    (tmp_path / FOLDER / "stray.yml").write_text("name: stray\n")
    found = check(tmp_path)
    assert found.returncode == 5
    assert "+    timeout-minutes: 60" in found.stdout
    assert "-name: stray" in found.stdout
    assert "python -m workflows" in found.stderr
    check(tmp_path, "--root", str(tmp_path))
    assert check(tmp_path).returncode == 0
    assert not (tmp_path / FOLDER / "stray.yml").exists()
