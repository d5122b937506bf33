"""The edge, as whole processes: exit codes, one JSON document, pipes that close, and interrupts."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.commands import argv_of, environment, shell, trimtab, write_project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


def with_services(project: Path) -> Path:
    """Lay out what building the project's images reads."""
    files = ("services/Dockerfile", "services/base/Dockerfile", "services/requirements-cpu.lock")
    for name in (*files, "services/gulls/models.toml"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    return project


def test_a_plan_that_fits_is_0(project: Path) -> None:
    ended = trimtab("plan", cwd=project)
    assert (ended.code, ended.err) == (0, "")
    assert "image:gulls:cpu" in ended.out
    assert "train:tides" in ended.out
    assert "\x1b" not in ended.out


def test_a_plan_writes_nothing(project: Path) -> None:
    trimtab("plan", cwd=project)
    assert [path.name for path in project.iterdir()] == ["trimtab.yaml"]


def test_a_plan_as_json_is_one_document(project: Path) -> None:
    document = trimtab("plan", "--json", cwd=project).document
    assert document["fits"] is True
    assert [budget["budget"] for budget in document["budgets"]] == ["disk", "memory", "time", "usd"]
    assert {step["basis"] for step in document["steps"]} == {"declared"}


def test_a_plan_over_budget_is_6_and_still_shows_the_plan(tmp_path: Path) -> None:
    ended = trimtab("plan", cwd=write_project(tmp_path, budgets__disk="1MiB"))
    assert ended.code == 6
    assert "OVER: raise budgets.disk to " in ended.out
    assert "error: the plan does not fit its budget; nothing was written" in ended.err


def test_a_plan_over_budget_as_json_is_one_document_with_the_error(tmp_path: Path) -> None:
    ended = trimtab("plan", "--json", cwd=write_project(tmp_path, budgets__disk="1MiB"))
    assert ended.code == 6
    assert ended.document["fits"] is False
    assert ended.document["error"]["exit"] == 6


@pytest.mark.parametrize("words", [("local",), ("images", "build"), ("train", "tides")])
def test_over_budget_nothing_is_run_and_nothing_is_written(tmp_path: Path, words: tuple[str, ...]) -> None:
    project = with_services(write_project(tmp_path, budgets__disk="1MiB"))
    ended = trimtab(*words, "--json", cwd=project)
    assert ended.code == 6
    assert "budgets.disk" in ended.document["error"]["next"]
    assert sorted(path.name for path in project.iterdir()) == ["services", "trimtab.yaml"]


@pytest.mark.parametrize("words", [("local",), ("images", "build"), ("images", "build", "gulls"), ("train", "tides")])
def test_a_dry_run_shows_the_steps_and_writes_nothing(project: Path, words: tuple[str, ...]) -> None:
    ended = trimtab(*words, "--dry-run", "--json", cwd=project)
    assert ended.code == 0
    assert ended.document["would_run"]
    assert all(f"would run  {step}: " in ended.err for step in ended.document["would_run"])
    assert [path.name for path in project.iterdir()] == ["trimtab.yaml"]


def test_a_wrong_catalogue_is_2_with_every_problem(tmp_path: Path) -> None:
    ended = trimtab("plan", cwd=write_project(tmp_path, budgts={}, owner=None))
    assert (ended.code, ended.out) == (2, "")
    assert "error: trimtab.yaml has 2 problems" in ended.err
    assert "budgts: unknown key; did you mean 'budgets'?" in ended.err
    assert "owner: is missing" in ended.err


def test_a_wrong_catalogue_as_json_is_one_document(tmp_path: Path) -> None:
    ended = trimtab("plan", "--json", cwd=write_project(tmp_path, owner=None))
    assert ended.code == 2
    assert set(ended.document["error"]) == {"what", "why", "next", "exit"}


def test_no_catalogue_is_2(tmp_path: Path) -> None:
    ended = trimtab("plan", cwd=tmp_path)
    assert ended.code == 2
    assert "error: there is no trimtab.yaml" in ended.err


def test_a_catalogue_that_is_not_there_is_2(project: Path) -> None:
    ended = trimtab("plan", "--catalogue", "other.yaml", cwd=project)
    assert ended.code == 2
    assert "error: the catalogue other.yaml cannot be read" in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("images", "build", "gull"), "did you mean 'gulls'?"),
        (("images", "build", "--variant", "gpu"), "gulls has no variant gpu"),
        (("train", "tide"), "did you mean 'tides'?"),
        (("train",), "Missing argument 'JOB'"),
        (("plan", "--bogus"), "No such option"),
        (("plan", "extra"), "unexpected extra argument"),
        (("nonsense",), "No such command 'nonsense'"),
        (("report",), "there is no report yet"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_2(project: Path, words: tuple[str, ...], says: str) -> None:
    ended = trimtab(*words, cwd=project)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_what_is_missing_on_the_machine_is_3_in_one_document(project: Path) -> None:
    bare = environment(PATH="/nowhere", DOCKER_HOST="unix:///nowhere/docker.sock")
    ended = trimtab("doctor", "--json", cwd=project, env=bare)
    assert ended.code == 3
    found = {finding["what"]: finding["ok"] for finding in ended.document["findings"]}
    assert (found["Docker engine"], found["npm"]) == (False, False)
    assert ended.document["error"]["what"].startswith("missing: Docker engine, npm")


def test_another_programs_failure_is_4_with_its_words(project: Path) -> None:
    (project / "infra").mkdir()
    (project / "infra" / "embedded.py").write_text("import sys; sys.exit('out of order')")
    ended = trimtab("infra", "outputs", "--embedded", cwd=project)
    assert ended.code == 4
    assert "ended with exit code 1" in ended.err
    assert "out of order" in ended.err


@pytest.mark.parametrize("code", [2, 3, 5, 6, 7])
def test_a_program_of_the_house_hands_its_exit_code_up(project: Path, code: int) -> None:
    (project / "infra").mkdir()
    (project / "infra" / "embedded.py").write_text(f"raise SystemExit({code})")
    assert trimtab("infra", "outputs", "--embedded", cwd=project).code == code


def test_a_file_that_drifted_is_5(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    assert trimtab("schema", "--out", str(path), cwd=tmp_path).code == 0
    assert trimtab("schema", "--out", str(path), "--check", cwd=tmp_path).code == 0
    path.write_text("{}")
    ended = trimtab("schema", "--out", str(path), "--check", cwd=tmp_path)
    assert ended.code == 5
    assert "run `trimtab schema` and commit the file" in ended.err
    assert path.read_text() == "{}"


def test_a_full_disk_under_our_output_is_6(project: Path) -> None:
    ended = shell("$trimtab plan --json > /dev/full", cwd=project)
    assert ended.code == 6
    assert "error: the disk is full" in ended.err
    assert "Traceback" not in ended.err


def test_two_runs_at_once_are_refused_with_2(project: Path) -> None:
    lock = project / ".trimtab" / "lock"
    lock.parent.mkdir()
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = trimtab("train", "tides", cwd=project)
    assert ended.code == 2
    assert "another command runs in this project" in ended.err
    assert str(lock) in ended.err


def test_a_state_folder_that_cannot_be_written_is_2(project: Path) -> None:
    ended = trimtab("train", "tides", cwd=project, env=environment(TRIMTAB_STATE="/proc/trimtab"))
    assert ended.code == 2
    assert "error: the state folder /proc/trimtab cannot be written" in ended.err
    assert "TRIMTAB_STATE" in ended.err


def test_the_version_is_told(tmp_path: Path) -> None:
    assert trimtab("--version", cwd=tmp_path).out.startswith("trimtab, version ")


def test_no_argument_shows_the_help(tmp_path: Path) -> None:
    ended = trimtab(cwd=tmp_path)
    assert "Usage: trimtab [OPTIONS] COMMAND" in ended.out + ended.err


@pytest.mark.parametrize("words", ["--help", "plan", "plan --json", "infra --help"])
@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_leaves_early_is_no_failure(project: Path, words: str, reader: str) -> None:
    ended = shell(f"$trimtab {words} | {reader}", cwd=project)
    assert (ended.code, ended.err) == (0, "")


_SLOW = """\
import os, sys, time
print("ready", os.getpid(), file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_130_and_ends_what_we_started(project: Path, number: signal.Signals) -> None:
    (project / "infra").mkdir()
    (project / "infra" / "embedded.py").write_text(_SLOW)
    argv = argv_of("infra", "outputs", "--embedded")
    with subprocess.Popen(argv, cwd=project, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        child = int(process.stderr.readline().removeprefix("ready "))
        os.kill(process.pid, number)
        said = process.stderr.read()
        assert process.wait(timeout=20) == 130
    assert "interrupted; what was finished stays" in said
    assert "Traceback" not in said
    assert not psutil.pid_exists(child)
