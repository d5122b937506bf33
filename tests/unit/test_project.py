"""A project on this machine: where it is found, and where its state lies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.commands import write_project
from trimtab.errors import UsageError
from trimtab.project import current_commit, find_project


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start in a folder that belongs to no project, with nothing in the environment that names one."""
    monkeypatch.delenv("TRIMTAB_ROOT", raising=False)
    monkeypatch.delenv("TRIMTAB_STATE", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_nearest_catalogue_upwards_is_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = write_project(tmp_path / "outer")
    inner = write_project(outer / "vendored" / "inner", project="inner-harbour")
    deep = inner / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    project = find_project()
    assert (project.root, project.state) == (inner, inner / ".trimtab")
    assert project.catalogue.project == "inner-harbour"


def test_finding_a_project_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_project(tmp_path / "project"))
    find_project()
    assert [path.name for path in (tmp_path / "project").iterdir()] == ["trimtab.yaml"]


def test_without_a_catalogue_the_folder_that_was_searched_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no trimtab\.yaml") as caught:
        find_project()
    assert caught.value.why == f"neither {tmp_path} nor a folder above it holds one"
    assert "--catalogue PATH" in caught.value.remedy


def test_the_root_that_the_environment_names_is_taken_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path / "project")
    monkeypatch.chdir(write_project(tmp_path / "elsewhere"))
    monkeypatch.setenv("TRIMTAB_ROOT", str(root))
    assert find_project().root == root


def test_a_root_without_a_catalogue_is_not_replaced_by_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_project(tmp_path / "project"))
    monkeypatch.setenv("TRIMTAB_ROOT", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match=r"there is no trimtab\.yaml") as caught:
        find_project()
    assert caught.value.why == f"TRIMTAB_ROOT names {tmp_path / 'empty'}, which holds none"


def test_a_relative_catalogue_is_that_of_the_folder_we_are_in_and_stays_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path / "project")
    project = find_project(Path("project/trimtab.yaml"))
    monkeypatch.chdir("/")
    assert project.root == tmp_path / "project"
    assert project.catalogue_path == tmp_path / "project" / "trimtab.yaml"
    assert project.state == tmp_path / "project" / ".trimtab"


def test_the_state_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_project(tmp_path / "project"))
    monkeypatch.setenv("TRIMTAB_STATE", "../state")
    state = find_project().state
    assert state.is_absolute()
    assert state.resolve() == tmp_path / "state"


def test_a_link_to_a_catalogue_leads_to_the_project_where_it_really_lies(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project")
    link = tmp_path / "link.yaml"
    link.symlink_to(root / "trimtab.yaml")
    assert find_project(link).root == root


def test_modules_are_run_with_this_very_python(tmp_path: Path) -> None:
    project = find_project(write_project(tmp_path / "project") / "trimtab.yaml")
    assert project.python_argv("infra.embedded", "up") == (sys.executable, "-m", "infra.embedded", "up")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "files",
    [
        {"HEAD": f"{COMMIT}\n"},
        {"HEAD": "ref: refs/heads/main\n", "refs/heads/main": f"{COMMIT}\n"},
        {"HEAD": "ref: refs/heads/main\n", "packed-refs": f"# pack-refs with: peeled\n{COMMIT} refs/heads/main\n"},
    ],
    ids=["detached", "loose", "packed"],
)
def test_the_commit_is_read_however_git_keeps_it(tmp_path: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = tmp_path / ".git" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert current_commit(tmp_path) == COMMIT


def test_outside_of_git_there_is_no_commit(tmp_path: Path) -> None:
    assert current_commit(tmp_path) == ""
    (tmp_path / ".git").write_text("gitdir: elsewhere\n")
    assert current_commit(tmp_path) == ""


def test_this_repositorys_commit_is_the_one_git_names(root: Path) -> None:
    import subprocess

    if not (root / ".git").is_dir():
        assert current_commit(root) == ""
        return
    named = subprocess.run(("git", "rev-parse", "HEAD"), cwd=root, capture_output=True, text=True, check=False)
    assert named.returncode != 0 or current_commit(root) == named.stdout.strip()
