"""`trimtab disk free` and `report`: what is handed to the program, and what is said of its answer."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

from tests.support.commands import environment, trimtab, write_project
from tests.support.disk import MIB, make_files
from trimtab.cli.main import command_line
from trimtab.disk.free import PROGRAM, Freeing, free_argv, nothing_else_runs

# Nothing of GitHub's either: where this suite runs on its runner, the runner must survive it.
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock", "GITHUB_ACTIONS": ""}


def test_the_program_is_told_all_that_is_ours() -> None:
    freeing = Freeing(
        need_bytes=20,
        at=Path("/data"),
        machine="desk",
        keep=("dotnet", "/opt/az"),
        project="harbour",
        own_folder=Path("/state/cache"),
        is_dry=True,
        waits=True,
    )
    assert free_argv(freeing) == (
        sys.executable, str(PROGRAM), "--need", "20B", "--at", "/data", "--json", "--no-verdict", "--desk",
        "--keep", "dotnet", "--keep", "/opt/az", "--own-label", "org.trimtab.project=harbour",
        "--own-folder", "/state/cache", "--dry-run", "--wait",
    )  # fmt: skip


def test_by_itself_it_finds_out_where_it_is() -> None:
    argv = free_argv(Freeing(need_bytes=1, at=Path("/")))
    assert not {"--runner", "--desk", "--own-label", "--own-folder", "--dry-run", "--wait"} & set(argv)


def test_the_flag_of_deploy_sh_is_this_command() -> None:
    assert command_line(["--cleanup-disk", "--need", "5GiB"]) == ["disk", "free", "--need", "5GiB"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a project whose cache holds something; no engine answers, and pip has no cache."""
    project = write_project(tmp_path / "project")
    make_files(project / ".trimtab", {"lock": 0, "cache/models/model": 3 * MIB, "results/kept": 10, "models/used": 10})
    return project


def env_of(tmp_path: Path) -> dict[str, str]:
    return environment(
        **NO_ENGINE, PIP_CACHE_DIR=str(tmp_path / "pip"), PATH="/usr/bin:/bin", RUNNER_TEMP=str(tmp_path)
    )


def test_at_a_desk_our_cache_goes_and_our_results_stay(project: Path, tmp_path: Path) -> None:
    ended = trimtab("disk", "free", "--need", "9000GiB", "--json", cwd=project, env=env_of(tmp_path))
    assert ended.code == 6
    (row,) = [row for row in ended.document["paths"] if row["name"] == "own folder"]
    assert (row["outcome"], row["freed_bytes"]) == ("removed", 3 * MIB)
    assert sorted(path.name for path in (project / ".trimtab").iterdir()) == ["cache", "lock", "models", "results"]
    assert list((project / ".trimtab" / "cache").iterdir()) == []
    assert ended.document["error"]["next"].startswith("decide on what is yours")


def test_our_cache_stays_while_another_command_uses_it(project: Path, tmp_path: Path) -> None:
    with (project / ".trimtab" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = trimtab("disk", "free", "--need", "9000GiB", "--json", cwd=project, env=env_of(tmp_path))
    assert ended.code == 6
    assert (project / ".trimtab" / "cache" / "models" / "model").exists()


def test_a_table_says_what_went(project: Path, tmp_path: Path) -> None:
    ended = trimtab("disk", "free", "--need", "9000GiB", cwd=project, env=env_of(tmp_path))
    assert "3.0 MiB" in ended.out
    assert "error: not enough room" in ended.err


def test_with_room_nothing_is_done(project: Path, tmp_path: Path) -> None:
    ended = trimtab("disk", "free", "--need", "1MiB", cwd=project, env=env_of(tmp_path))
    assert (ended.code, "nothing was removed" in ended.out) == (0, True)


@pytest.mark.parametrize("words", [("--need", "20"), ("--need", "lots"), ("--keep", "dotnt")])
def test_a_wrong_argument_ends_with_2(words: tuple[str, ...], project: Path, tmp_path: Path) -> None:
    ended = trimtab("disk", "free", *words, cwd=project, env=env_of(tmp_path))
    assert (ended.code, ended.out) == (2, "")


def test_a_catalogue_that_is_named_must_be_there(tmp_path: Path) -> None:
    ended = trimtab("disk", "report", "--catalogue", "absent.yaml", cwd=tmp_path, env=env_of(tmp_path))
    assert ended.code == 2


def test_a_report_needs_neither_an_engine_nor_a_project(tmp_path: Path) -> None:
    ended = trimtab("disk", "report", "--json", cwd=tmp_path, env=env_of(tmp_path))
    assert ended.code == 0
    assert "no Docker engine answers" in ended.err
    (disk, *_) = ended.document["disks"]
    assert disk["used"]["bytes"] == sum(child["bytes"] for child in disk["used"]["children"])


def test_a_report_for_a_person_names_our_folders(project: Path, tmp_path: Path) -> None:
    ended = trimtab("disk", "report", cwd=project, env=env_of(tmp_path))
    assert ended.code == 0
    assert "our state, " in ended.out
    assert "could take 3.0 MiB of this" in ended.out


def test_the_project_s_lock_is_held_while_something_is_freed(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with nothing_else_runs(tmp_path) as is_idle:
        assert is_idle
        descriptor = os.open(tmp_path / "lock", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)
    with nothing_else_runs(tmp_path / "absent") as is_idle:
        assert not is_idle
