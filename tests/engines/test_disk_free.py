"""scripts/free-disk-space on a runner's tree: it frees just what is needed, and touches nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.disk import (
    MIB,
    PROGRAM,
    TOO_MUCH,
    argv_of,
    free_disk_space,
    job_environment,
    make_files,
    mounted,
    outcomes,
    small_disk,
)

SWIFT, NDK, ANDROID, DOTNET = (
    "usr/share/swift",
    "usr/local/lib/android/sdk/ndk",
    "usr/local/lib/android",
    "usr/share/dotnet",
)
TOOL_CACHE = "opt/hostedtoolcache"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Give the folder of a job, outside of the tree."""
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a tree with some of a runner's paths, and some that are on no list."""
    root = tmp_path / "root"
    make_files(
        root,
        {
            f"{SWIFT}/usr/bin/swift-frontend": 3 * MIB,
            f"{SWIFT}/usr/share/doc/notes": 10,
            f"{NDK}/27.0/toolchains/llvm/prebuilt/linux-x86_64/bin/clang-18": 4 * MIB,
            f"{ANDROID}/sdk/platforms/android-35/android.jar": 2 * MIB,
            f"{TOOL_CACHE}/Python/3.10.1/x64/bin/python": MIB,
            f"{TOOL_CACHE}/Python/3.11.9/x64/bin/python": MIB,
            f"{TOOL_CACHE}/Python/3.11.9/x64.complete": 0,
            "usr/bin/bash": 100,
            "usr/share/keep/this": 100,
            "home/runner/project/README": 100,
        },
    )
    return root


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_everything_on_the_list_goes_and_nothing_else(root: Path, job: Path) -> None:
    ended = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
    assert ended.code == 6
    assert outcomes(ended, root) == {
        f"/{SWIFT}": "removed",
        f"/{NDK}": "removed",
        f"/{ANDROID}": "removed",
        f"/{TOOL_CACHE}": "removed",
    }
    assert files_in(root) == {"usr/bin/bash", "usr/share/keep/this", "home/runner/project/README"}
    assert sorted(path.name for path in root.iterdir()) == ["home", "opt", "usr"]


def test_what_was_freed_adds_up(root: Path, job: Path) -> None:
    document = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job).document
    freed = {row["path"].removeprefix(str(root)): row["freed_bytes"] for row in document["paths"]}
    assert freed[f"/{SWIFT}"] == 3 * MIB + 4096
    assert freed[f"/{NDK}"] == 4 * MIB
    assert freed[f"/{ANDROID}"] == 2 * MIB
    assert document["freed_bytes"] == sum(freed.values())


def test_nothing_is_done_when_there_is_room(root: Path, job: Path) -> None:
    before = files_in(root)
    ended = free_disk_space("--need", "1MiB", root=root, job=job)
    assert ended.code == 0
    assert "nothing was removed" in ended.out
    assert files_in(root) == before


def test_a_dry_run_says_what_would_go_and_removes_nothing(root: Path, job: Path) -> None:
    before = files_in(root)
    ended = free_disk_space("--need", TOO_MUCH, "--dry-run", "--json", root=root, job=job)
    assert ended.code == 6
    assert set(outcomes(ended, root).values()) == {"would be removed"}
    freed = {row["path"].removeprefix(str(root)): row["freed_bytes"] for row in ended.document["paths"]}
    assert freed[f"/{ANDROID}"] == 2 * MIB  # the NDK inside it is a row of its own, and not counted twice
    assert files_in(root) == before


def test_it_stops_when_the_need_is_met_and_leaves_the_slower_rows_alone(tmp_path: Path, job: Path) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk:
        make_files(
            disk,
            {
                f"{SWIFT}/usr/bin/swift-frontend": 10 * MIB,
                f"{SWIFT}/small": 4096,
                f"{DOTNET}/sdk/9/big.dll": 10 * MIB,
                "usr/share/miniconda/bin/python": 10 * MIB,
                "usr/share/keep/this": 20 * MIB,
            },
        )
        ended = free_disk_space("--need", "18MiB", "--wait", "--json", root=disk, job=job)
        assert ended.code == 0
        assert ended.document["met"]
        assert outcomes(ended, disk) == {f"/{SWIFT}": "removed"}
        assert files_in(disk) == {
            f"{DOTNET}/sdk/9/big.dll",
            "usr/share/miniconda/bin/python",
            "usr/share/keep/this",
        }


def test_what_was_begun_is_finished_in_the_background_behind_a_barrier(tmp_path: Path, job: Path) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk:
        make_files(disk, {f"{SWIFT}/usr/bin/swift-frontend": 20 * MIB, "other": 30 * MIB})
        make_files(disk, {f"{SWIFT}/d{number % 50}/small{number}": 0 for number in range(3000)})
        ended = free_disk_space("--need", "30MiB", "--json", root=disk, job=job)
        assert ended.code == 0
        assert ended.document["background"]
        assert not (disk / SWIFT).exists()  # its path is gone at once, and never half there
        barrier = free_disk_space("--wait", root=disk, job=job)
        assert (barrier.code, barrier.out) == (0, "")
        assert sorted(path.name for path in disk.iterdir()) == ["other", "usr"]


def test_a_reader_of_its_output_does_not_wait_for_the_background(tmp_path: Path, job: Path) -> None:
    """A step of a workflow ends when its outputs are closed by everybody."""
    with small_disk(tmp_path / "disk", "64m") as disk:
        make_files(disk, {f"{SWIFT}/usr/bin/swift-frontend": 20 * MIB, "other": 30 * MIB, f"{SWIFT}/small": 1})
        lock = job / "temp" / "free-disk-space.lock"
        ended = subprocess.run(
            ["bash", "-c", '"$@" | cat', "-", *argv_of("--root", str(disk), "--need", "30MiB")],
            cwd=job,
            env=job_environment(job),
            capture_output=True,
            timeout=30,
            check=True,
        )
        assert b"in the background" in ended.stdout
        assert lock.exists()
        assert free_disk_space("--wait", root=disk, job=job).code == 0


def test_links_are_removed_and_never_followed(root: Path, job: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    make_files(outside, {"precious": 10, "folder/precious": 10})
    (root / SWIFT / "to-file").symlink_to(outside / "precious")
    (root / SWIFT / "to-folder").symlink_to(outside / "folder")
    (root / SWIFT / "usr" / "bin" / "to-folder").symlink_to(outside / "folder")
    (root / SWIFT / "nowhere").symlink_to("/nonexistent")
    os.link(outside / "precious", root / SWIFT / "hard")
    assert free_disk_space("--need", TOO_MUCH, root=root, job=job).code == 6
    assert not (root / SWIFT).exists()
    assert files_in(outside) == {"precious", "folder/precious"}


def test_a_path_of_the_list_that_is_a_link_or_lies_behind_one_is_left_alone(
    root: Path, job: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    make_files(outside, {"dotnet/precious": 10, "local/share/powershell/precious": 10, "opt/az/precious": 10})
    (root / DOTNET).symlink_to(outside / "dotnet")
    shutil.move(root / "usr" / "local", tmp_path / "moved")
    (root / "usr" / "local").symlink_to(outside / "local")
    shutil.rmtree(root / "opt")
    (root / "opt").symlink_to(outside / "opt")
    ended = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
    assert outcomes(ended, root) == {f"/{SWIFT}": "removed", f"/{DOTNET}": "kept"}
    assert files_in(outside) == {"dotnet/precious", "local/share/powershell/precious", "opt/az/precious"}


def test_names_of_any_bytes_are_removed_and_shown_on_their_line(root: Path, job: Path) -> None:
    names = (b"new\nline", b"\xff\xfe not text", b" ", b"-rf", b"*", "\u202egnp.exe".encode(), b"x" * 255)
    for name in map(os.fsdecode, names):
        (root / SWIFT / name).mkdir()
        (root / SWIFT / name / name).write_bytes(b"x")
    (root / "usr" / "local" / os.fsdecode(b"julia\n| [x](y) \xff")).mkdir()
    ended = free_disk_space("--need", TOO_MUCH, root=root, job=job)
    assert ended.code == 6
    assert not (root / SWIFT).exists()
    assert r"julia\n| [x](y) \xff" in ended.out
    assert [path.name for path in (root / "usr" / "local").iterdir()] == ["lib"]


def test_a_tree_deeper_than_any_stack_is_removed(root: Path, job: Path) -> None:
    at = os.open(root / SWIFT, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    assert free_disk_space("--need", TOO_MUCH, root=root, job=job).code == 6
    assert not (root / SWIFT).exists()


def test_a_mount_inside_a_path_keeps_the_path_whole(root: Path, job: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    make_files(outside, {"precious": 10})
    with mounted("--bind", str(outside), at=root / SWIFT / "mounted"):
        ended = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
        assert outcomes(ended, root)[f"/{SWIFT}"] == "kept"
        assert (root / SWIFT / "usr" / "bin" / "swift-frontend").exists()
    assert files_in(outside) == {"precious"}


def test_a_mounted_folder_above_a_path_keeps_the_path(root: Path, job: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    make_files(outside, {"hostedtoolcache/Python/3.12.0/x64/bin/python": 10})
    with mounted("--bind", str(outside), at=root / "opt"):
        free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
    assert files_in(outside) == {"hostedtoolcache/Python/3.12.0/x64/bin/python"}


def test_another_disk_is_left_alone(root: Path, job: Path) -> None:
    with small_disk(root / DOTNET, "1m") as disk:
        make_files(disk, {"precious": 10})
        ended = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
        assert outcomes(ended, root)[f"/{DOTNET}"] == "kept"
        assert files_in(disk) == {"precious"}


def test_a_read_only_path_stays_and_is_named(root: Path, job: Path) -> None:
    with mounted("--bind", "-o", "ro", str(root / "usr/share/keep"), at=root / "usr/local/share/powershell"):
        ended = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
        assert outcomes(ended, root)["/usr/local/share/powershell"] == "kept"
        assert ended.code == 6
        assert "/usr/local/share/powershell" in ended.err
    assert (root / "usr/share/keep/this").exists()


@pytest.mark.skipif(shutil.which("chattr") is None or os.geteuid() != 0, reason="needs chattr, and root")
def test_a_file_that_cannot_be_removed_is_counted_and_the_rest_goes(root: Path, job: Path) -> None:
    stuck = root / SWIFT / "usr" / "bin" / "stuck"
    make_files(root, {f"{SWIFT}/usr/bin/stuck": 2 * MIB})
    if subprocess.run(["chattr", "+i", stuck], capture_output=True, check=False).returncode != 0:
        pytest.skip("this file system has no immutable files")
    try:
        ended = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
        (row,) = [row for row in ended.document["paths"] if row["name"] == "swift"]
        assert row["outcome"] == "partly removed"
        assert "usr/bin/stuck: Operation not permitted" in row["note"]
        assert row["freed_bytes"] == 3 * MIB + 4096
    finally:
        for left in root.rglob("stuck"):
            subprocess.run(["chattr", "-i", left], check=True)
    again = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
    assert [row["name"] for row in again.document["paths"]] == ["begun before"]
    assert not (root / ".free-disk-space").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_user_who_may_not_rename_removes_in_place_what_is_his() -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("there is no Python that another user may run")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        job, root = Path(folder), Path(folder) / "root"
        job.chmod(0o755)
        make_files(root, {f"{SWIFT}/usr/bin/swift-frontend": 3 * MIB, f"{NDK}/27.0/clang": MIB})
        for path in (root / SWIFT, *(root / SWIFT).rglob("*")):
            os.chown(path, 65534, 65534)
        program = shutil.copy(PROGRAM, job)
        ended = subprocess.run(
            [python, program, "--root", root, "--need", TOO_MUCH, "--json"],
            cwd="/",
            env=job_environment(job),
            capture_output=True,
            text=True,
            user=65534,
            check=False,
        )
        rows = {row["name"]: row for row in json.loads(ended.stdout)["paths"]}
        assert ended.returncode == 6
        assert rows["swift"]["outcome"] == "partly removed"  # emptied; its own name lies in a folder of root's
        assert rows["swift"]["freed_bytes"] == 3 * MIB
        assert "Permission denied" in rows["android-ndk"]["note"]
        assert files_in(root) == {f"{NDK}/27.0/clang"}


def test_files_that_vanish_and_appear_meanwhile_are_no_error(root: Path, job: Path) -> None:
    make_files(root, {f"{SWIFT}/many/d{number % 100}/f{number}": 0 for number in range(4000)})
    racing = threading.Event()

    def race() -> None:
        while not racing.is_set():
            for place in (root / SWIFT, root / ".free-disk-space"):
                shutil.rmtree(place / "many", ignore_errors=True)
                with suppress(FileNotFoundError):  # the program removes what is being looked through
                    for aside in place.glob("*/many/d*"):
                        shutil.rmtree(aside, ignore_errors=True)

    racer = threading.Thread(target=race)
    racer.start()
    try:
        ended = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
    finally:
        racing.set()
        racer.join()
    assert ended.code == 6
    assert "Traceback" not in ended.err
    assert not (root / SWIFT).exists()


def left_of_python(root: Path) -> list[str]:
    folder = root / TOOL_CACHE / "Python"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_tool_that_the_job_set_up_stays_and_the_others_go(root: Path, job: Path) -> None:
    path = f"{root / TOOL_CACHE}/Python/3.11.9/x64/bin:{os.environ['PATH']}"
    env = job_environment(job, RUNNER_TOOL_CACHE=str(root / TOOL_CACHE), PATH=path)
    ended = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job, env=env)
    assert left_of_python(root) == ["3.11.9"]
    assert (root / TOOL_CACHE / "Python/3.11.9/x64.complete").exists()
    assert outcomes(ended, root)[f"/{TOOL_CACHE}/Python/3.11.9"] == "kept"


def test_the_interpreter_of_the_job_s_virtual_environment_stays(root: Path, job: Path) -> None:
    env = job_environment(job, GITHUB_WORKSPACE=str(job / "work"))
    (job / "work" / ".venv" / "bin").mkdir(parents=True)
    (job / "work" / ".venv" / "bin" / "python").symlink_to(root / TOOL_CACHE / "Python/3.10.1/x64/bin/python")
    free_disk_space("--need", TOO_MUCH, root=root, job=job, env=env)
    assert left_of_python(root) == ["3.10.1"]


def test_what_a_process_runs_from_stays(root: Path, job: Path) -> None:
    program = root / TOOL_CACHE / "Python/3.10.1/x64/bin/sleep"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as running:
        try:
            free_disk_space("--need", TOO_MUCH, root=root, job=job)
        finally:
            running.kill()
    assert left_of_python(root) == ["3.10.1"]


@pytest.mark.parametrize("name", ["GITHUB_WORKSPACE", "RUNNER_TEMP"])
def test_the_job_s_own_folders_stay_wherever_they_are(name: str, root: Path, job: Path) -> None:
    inside = root / SWIFT / "usr" / "work"
    inside.mkdir()
    free_disk_space("--need", TOO_MUCH, root=root, job=job, env={**job_environment(job), name: str(inside)})
    assert (root / SWIFT / "usr" / "bin" / "swift-frontend").exists()
    assert not (root / NDK).exists()


def test_the_working_folder_stays(root: Path, job: Path) -> None:
    env = job_environment(job)
    free_disk_space("--need", TOO_MUCH, root=root, job=root / SWIFT / "usr", env=env)
    assert (root / SWIFT / "usr" / "bin" / "swift-frontend").exists()


def test_what_is_to_be_kept_is_named_by_its_path_or_its_row(root: Path, job: Path) -> None:
    clang = root / NDK / "27.0"
    free_disk_space("--need", TOO_MUCH, "--keep", "swift", "--keep", str(clang), root=root, job=job)
    assert (root / SWIFT / "usr" / "bin" / "swift-frontend").exists()
    assert clang.exists()
    assert (root / ANDROID / "sdk/platforms/android-35/android.jar").exists()
    assert not (root / TOOL_CACHE / "Python").exists()


def test_after_an_interrupt_the_same_command_finishes_what_was_begun(root: Path, job: Path) -> None:
    make_files(root, {f"{SWIFT}/d{number % 400}/f{number}": 0 for number in range(20000)})
    with subprocess.Popen(
        argv_of("--root", str(root), "--need", TOO_MUCH), cwd=job, env=job_environment(job), stderr=subprocess.PIPE
    ) as running:
        while (root / SWIFT).exists():
            time.sleep(0.001)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"run the same command again" in said
    again = free_disk_space("--need", TOO_MUCH, "--json", root=root, job=job)
    assert {row["name"] for row in again.document["paths"]} >= {"begun before"}
    assert not (root / ".free-disk-space").exists()
    assert not (root / SWIFT).exists()


def test_a_foreign_folder_of_that_name_is_not_used(root: Path, job: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / ".free-disk-space").symlink_to(outside)
    free_disk_space("--need", TOO_MUCH, root=root, job=job)
    assert not (root / SWIFT).exists()
    assert list(outside.iterdir()) == []


def fill(ballast: Path) -> None:
    """Write until nothing more can be."""
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(descriptor, b"x" * 4096)
    os.close(descriptor)


def test_a_full_disk_is_freed_all_the_same(tmp_path: Path, job: Path) -> None:
    with small_disk(tmp_path / "disk", "16m") as disk:
        make_files(disk, {f"{SWIFT}/usr/bin/swift-frontend": 4 * MIB})
        fill(disk / "ballast")
        ended = free_disk_space("--need", "3MiB", "--wait", root=disk, job=job)
        assert ended.code == 0
        assert not (disk / SWIFT).exists()


def test_what_cannot_be_freed_says_what_was_and_what_is_left_to_try(root: Path, job: Path) -> None:
    ended = free_disk_space("--need", TOO_MUCH, "--keep", "swift", root=root, job=job)
    assert ended.code == 6
    assert "error: not enough room:" in ended.err
    assert "why: nothing else here may go than" in ended.err
    assert "next: see why these stayed: " in ended.err
    assert "a runner with a larger disk" in ended.err


def test_outputs_and_summary_are_written_for_a_step(root: Path, job: Path) -> None:
    (root / "usr" / "local" / "julia| <b>x\nfreed-bytes=1").mkdir()
    env = job_environment(job, GITHUB_OUTPUT=str(job / "out"), GITHUB_STEP_SUMMARY=str(job / "summary"))
    ended = free_disk_space("--need", TOO_MUCH, "--github", "--json", root=root, job=job, env=env)
    outputs = dict(line.split("=") for line in (job / "out").read_text().splitlines())
    assert outputs == {
        "freed-bytes": str(ended.document["freed_bytes"]),
        "free-bytes": str(ended.document["free_bytes"]),
    }
    summary = (job / "summary").read_text()
    assert summary.startswith("### Disk\n\nfreed ")
    assert r"julia\| \<b\>x\\nfreed-bytes=1 | removed | 0 B |" in summary
    assert f"{SWIFT} | removed | 3.0 MiB |" in summary


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--need", "20"), "is not a size such as 20GiB"),
        (("--need", "1", "--keep", "dotnt"), "--need"),
        (("--keep", "dotnt"), "--keep dotnt names nothing"),
        (("--at", "/nonexistent"), "/nonexistent is not there"),
        (("--runner", "--desk"), "not allowed with"),
    ],
)
def test_a_wrong_argument_ends_with_2(words: tuple[str, ...], said: str, root: Path, job: Path) -> None:
    before = files_in(root)
    ended = free_disk_space(*words, root=root, job=job)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert files_in(root) == before


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_it_runs_on_the_pythons_that_it_promises(version: str, root: Path, job: Path) -> None:
    found = [*Path("/root/.pyenv/versions").glob(f"{version}.*/bin/python{version}")] if os.geteuid() == 0 else []
    python = shutil.which(f"python{version}", path="/usr/bin:/usr/local/bin") or next(map(str, found), None)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    ended = subprocess.run(
        [python, "-W", "error", PROGRAM, "--root", root, "--need", TOO_MUCH, "--json"],
        cwd=job,
        env=job_environment(job),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 6, ended.stderr
    assert not (root / SWIFT).exists()
    assert "warning" not in ended.stderr.lower()


def test_it_runs_from_a_pipe(root: Path, job: Path) -> None:
    argv = [sys.executable, "-", "--root", root, "--need", TOO_MUCH]
    with PROGRAM.open() as program:
        ended = subprocess.run(
            argv, stdin=program, cwd=job, env=job_environment(job), capture_output=True, text=True, check=False
        )
    assert ended.returncode == 6, ended.stderr
    assert not (root / SWIFT).exists()


def test_it_needs_nothing_but_the_standard_library() -> None:
    done = subprocess.run([sys.executable, "-I", "-S", PROGRAM, "--help"], capture_output=True, text=True, check=True)
    assert "--need SIZE" in done.stdout
