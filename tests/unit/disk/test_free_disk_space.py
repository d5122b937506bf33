"""The tables and the decisions of scripts/free-disk-space, and what it asks of Docker and apt. Removes nothing."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.disk import PROGRAM, load_program


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load_program()


class Programs:
    """Answers like the programs that are asked, and keeps what was run."""

    def __init__(self, module: ModuleType, answers: dict[tuple[str, ...], str]) -> None:
        self.answers, self.ran = answers, []  # type: tuple[dict[tuple[str, ...], str], list[tuple[str, ...]]]
        self._answer = module.Answer

    def __call__(self, argv: Sequence[str], timeout_s: float) -> Any:
        assert timeout_s > 0
        self.ran.append(tuple(argv))
        for start, out in self.answers.items():
            if tuple(argv[: len(start)]) == start:
                return self._answer(0, out, "")
        return self._answer(127, "", f"{argv[0]} is not installed")


class FullDisk:
    """A disk that never has room, until so many were asked to remove something."""

    def __init__(self, device: int, *, room_after: int = 10**6) -> None:
        self.device, self.need_bytes, self._left = device, 1, room_after

    def has_room(self) -> bool:
        return self._left <= 0

    def free_bytes(self) -> int:
        self._left -= 1
        return 0


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk(Path("/").stat().st_dev)


def options(program: ModuleType, *words: str) -> argparse.Namespace:
    parsed: argparse.Namespace = program.arguments_of(words)
    return parsed


@pytest.mark.parametrize(
    ("words", "environment", "is_runner"),
    [
        ((), {}, False),
        ((), {"GITHUB_ACTIONS": "true", "RUNNER_ENVIRONMENT": "github-hosted"}, True),
        ((), {"GITHUB_ACTIONS": "true", "RUNNER_ENVIRONMENT": "self-hosted"}, False),
        ((), {"GITHUB_ACTIONS": "true"}, False),
        ((), {"RUNNER_ENVIRONMENT": "github-hosted"}, False),
        ((), {"GITHUB_ACTIONS": "true", "RUNNER_ENVIRONMENT": "github-hosted", "ACT": "true"}, False),
        (("--desk",), {"GITHUB_ACTIONS": "true", "RUNNER_ENVIRONMENT": "github-hosted"}, False),
        (("--runner",), {}, True),
        (("--root", "/tree"), {}, True),
    ],
)
def test_only_a_machine_that_is_thrown_away_is_a_runner(
    *, words: tuple[str, ...], environment: dict[str, str], is_runner: bool, program: ModuleType
) -> None:
    assert program.is_runner(options(program, *words), environment) is is_runner


@pytest.mark.parametrize("image", ["ubuntu22", "ubuntu24", "ubuntu26", "unknown", ""])
@pytest.mark.parametrize("arch", ["X64", "ARM64"])
def test_the_most_gib_per_second_go_first_on_every_image(image: str, arch: str, program: ModuleType) -> None:
    rows = program.rows_of({"ImageOS": image, "RUNNER_ARCH": arch})
    speeds = [row.gib_per_second for row in rows]
    assert speeds == sorted(speeds, reverse=True)
    assert rows[0].name in ("swift", "android-ndk")
    assert [row.name for row in rows].count("tool-cache") == 1


def test_ubuntu_26_has_its_own_rows(program: ModuleType) -> None:
    names = {row.name for row in program.rows_of({"ImageOS": "ubuntu26", "RUNNER_ARCH": "X64"})}
    assert "runner-cache" in names
    assert names.isdisjoint({"swift", "julia", "miniconda"})


def test_an_image_that_nobody_knows_gets_every_row(program: ModuleType) -> None:
    rows = program.rows_of({"ImageOS": "ubuntu28"})
    assert {row.name for row in rows} == {row.name for row in (*program.ROWS, program.RUNNER_CACHE)}


def test_every_path_of_the_table_is_deep_enough_and_leaves_the_system_alone(program: ModuleType) -> None:
    system = {"/usr", "/opt", "/usr/local", "/usr/share", "/usr/local/lib", "/usr/local/share", "/usr/lib", "/home"}
    for row in (*program.ROWS, program.RUNNER_CACHE):
        for path in row.paths:
            assert path.startswith(("/usr/", "/opt/"))
            assert path.rstrip("*") not in system
            assert ".." not in path
        assert all(not pattern.startswith("/") and ".." not in pattern for pattern in row.big)


def test_the_program_is_written_for_python_3_8() -> None:
    ast.parse(PROGRAM.read_text(), feature_version=(3, 8))


def test_it_imports_only_the_standard_library() -> None:
    import sys

    tree = ast.parse(PROGRAM.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("kept", "whole", "path", "stays"),
    [
        ("/opt/az", True, "/opt/az", True),
        ("/opt/az/bin", True, "/opt/az", True),
        ("/opt/az", True, "/opt/az/bin", True),
        ("/opt/az", False, "/opt/az/bin", False),
        ("/opt/az-2", True, "/opt/az", False),
        ("/opt/a", True, "/opt/az", False),
    ],
)
def test_a_path_stays_when_what_is_used_is_it_or_in_it_or_above_it(
    *, kept: str, whole: bool, path: str, stays: bool, program: ModuleType
) -> None:
    items = program.with_real_paths([program.Kept(kept, "used", whole)])
    assert (program.why_kept(path, items) is not None) is stays


def test_a_mount_with_a_space_and_a_newline_in_its_name_is_read_right(program: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    line = rb"36 35 98:0 /x /opt/a\040b\012c rw,noatime - ext4 /dev/root rw"
    (tmp_path / "self" / "mountinfo").write_bytes(line + b"\n")
    assert list(program._mount_points(str(tmp_path))) == ["/opt/a b\nc"]


def images(*documents: dict[str, Any]) -> dict[tuple[str, ...], str]:
    return {
        ("docker", "info"): "/\n",
        ("docker", "image", "ls"): "\n".join(document["Id"] for document in documents),
        ("docker", "image", "inspect"): json.dumps(documents),
        ("docker", "container", "ls"): "",
        ("docker",): "",
    }


def test_on_a_runner_only_images_from_before_the_machine_s_start_go(program: ModuleType, disk: FullDisk) -> None:
    booted = datetime(2026, 6, 5, 12, tzinfo=UTC).timestamp()
    run = Programs(
        program,
        images(
            {"Id": "sha256:baked", "Metadata": {"LastTagTime": "2026-06-01T08:00:00.123456789Z"}},
            {"Id": "sha256:pulled", "Metadata": {"LastTagTime": "2026-06-05T12:00:01Z"}},
            {"Id": "sha256:offset", "Metadata": {"LastTagTime": "2026-06-05T13:30:00+02:00"}},
            {"Id": "sha256:untold", "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"}},
            {"Id": "sha256:odd", "Metadata": {}},
        ),
    )
    programs = program.Programs(disk, run, is_dry=False)
    assert programs.preinstalled_images(booted) == ["sha256:baked", "sha256:offset"]


def test_an_image_that_a_container_uses_stays(program: ModuleType, disk: FullDisk) -> None:
    answers = images({"Id": "sha256:used", "RepoTags": ["x:1"]})
    answers[("docker", "container", "ls")] = "0123456789ab\n"
    assert program.Programs(disk, Programs(program, answers), is_dry=False).own_images("a=b") == []


def test_a_release_that_one_may_go_back_to_stays(program: ModuleType, disk: FullDisk) -> None:
    answers = images(
        {"Id": "sha256:old", "RepoTags": ["p/s:cpu"]}, {"Id": "sha256:kept", "RepoTags": ["p/s:cpu-2", "p/s:release-7"]}
    )
    assert program.Programs(disk, Programs(program, answers), is_dry=False).own_images("a=b") == ["sha256:old"]


def test_a_package_family_goes_only_if_nothing_else_goes_with_it(program: ModuleType, disk: FullDisk) -> None:
    answers = {
        ("dpkg-query",): "llvm-18 ii \nllvm-19 ii \nllvm-17 rc \nbash ii \nphp8.3 ii \n",
        ("apt-get", "--simulate", "remove", "llvm-18"): "Remv llvm-18 [1]\nRemv llvm-19 [1]\n",
        ("apt-get", "--simulate", "remove", "php8.3"): "Remv php8.3 [8]\nRemv the-job-s-tool [1]\n",
    }
    programs = program.Programs(disk, Programs(program, answers), is_dry=False)
    assert programs.removable_packages(("llvm-*",)) == ["llvm-18", "llvm-19"]
    assert programs.removable_packages(("php*",)) == []
    assert programs.removable_packages(("mono-*",)) == []


def test_packages_are_removed_family_by_family_until_there_is_room(program: ModuleType) -> None:
    answers = {
        ("dpkg-query",): "azure-cli ii \nfirefox ii \nllvm-18 ii \n",
        ("apt-get", "--simulate", "remove", "azure-cli"): "Remv azure-cli [1]\n",
        ("apt-get", "--simulate", "remove", "firefox"): "Remv firefox [1]\n",
        ("apt-get", "--simulate", "remove", "llvm-18"): "Remv llvm-18 [1]\n",
        ("apt-get", "remove"): "",
    }
    run = Programs(program, answers)
    disk = FullDisk(0, room_after=4)  # asked before and after each removal
    program.remove_by_programs_on_a_runner(program.Programs(disk, run, is_dry=False), ["docker-images"])
    removed = [argv[-1] for argv in run.ran if argv[:2] == ("apt-get", "remove")]
    assert removed == ["azure-cli", "firefox"]


def test_a_program_that_fails_is_told_and_the_next_one_runs(program: ModuleType, disk: FullDisk) -> None:
    def run(argv: Sequence[str], timeout_s: float) -> Any:
        failed = argv[1:3] == ("image", "prune")
        return program.Answer(1 if failed else 0, "/", "first\nit is\x1b busy\n" if failed else "")

    programs = program.Programs(disk, run, is_dry=False)
    program.remove_by_programs_at_a_desk(programs, [])
    first, second = programs.results[:2]
    assert (first.outcome, first.note) == ("failed", r"it is\x1b busy")
    assert (second.name, second.outcome) == ("build cache", "removed")


def test_an_engine_whose_data_lie_elsewhere_is_left_alone(program: ModuleType) -> None:
    run = Programs(program, {**images(), ("docker", "info"): "/nonexistent\n"})
    program.remove_by_programs_at_a_desk(program.Programs(FullDisk(0), run, is_dry=False), ["a=b"])
    assert [argv for argv in run.ran if argv[0] == "docker"] == [("docker", "info", "--format", "{{.DockerRootDir}}")]


def test_a_program_that_takes_too_long_is_given_up(program: ModuleType) -> None:
    assert program.run_program(("sleep", "30"), 0.05).code == 124
    assert program.run_program(("no-such-program",), 5).code == 127


def test_nothing_at_a_desk_is_asked_that_holds_other_people_s_data(program: ModuleType, disk: FullDisk) -> None:
    run = Programs(program, images({"Id": "sha256:1", "RepoTags": ["x:1"]}))
    program.remove_by_programs_at_a_desk(program.Programs(disk, run, is_dry=False), [])
    removing = {argv[1:] for argv in run.ran if "prune" in argv or "rm" in argv or "purge" in argv}
    assert removing == {("image", "prune", "--force"), ("builder", "prune", "--all", "--force")}


@pytest.mark.parametrize(("text", "size"), [("20GiB", 20 * 2**30), ("1.5 GB", 1_500_000_000), ("9B", 9)])
def test_a_size_is_read_as_everywhere_in_this_house(text: str, size: int, program: ModuleType) -> None:
    assert program.parse_size(text) == size


@pytest.mark.parametrize("text", ["20", "GiB", "20GiB\n1", "-1GiB", "1e3GiB", "20gib"])
def test_what_is_no_size_is_refused(text: str, program: ModuleType) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size such as 20GiB"):
        program.parse_size(text)


def test_a_lock_of_a_link_is_not_followed(program: ModuleType, tmp_path: Path) -> None:
    target, lock = tmp_path / "target", tmp_path / "lock"
    lock.symlink_to(target)
    fork: Callable[[Any, str], bool] = program.finish_behind
    assert fork(None, str(lock)) is False
    assert not target.exists()
