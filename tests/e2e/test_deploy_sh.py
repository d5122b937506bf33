"""deploy.sh and the environment it makes, in copies of the tree with a small lock: the scripts are the real ones."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.tree import Tree

# One worker makes the environment that these tests share, and each leaves it whole.
pytestmark = pytest.mark.xdist_group("environment")

THREE_PARTS = re.compile(r"^error: .+\n  why: .+\n  next: .+\n", re.MULTILINE)


@pytest.fixture(scope="module")
def tree(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    tree = Tree(root, tmp_path_factory.mktemp("deploy") / "a folder with spaces")
    done = tree.setup()
    assert done.returncode == 0, done.stderr
    return tree


def test_no_argument_shows_the_help(tree: Tree) -> None:
    done = tree.run(tree.root / "deploy.sh")
    assert done.returncode == 0
    assert done.stdout == tree.run(tree.root / "deploy.sh", "--help").stdout
    assert done.stdout.startswith("Usage: trimtab")


def test_it_works_from_any_directory_and_through_links(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "first").symlink_to(tree.root / "deploy.sh")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/second").symlink_to("../first")
    for called in (tree.root / "deploy.sh", tmp_path / "first", Path("elsewhere/second")):
        done = tree.run(called, "--help", cwd=tmp_path)
        assert (done.returncode, done.stdout[:14]) == (0, "Usage: trimtab"), done.stderr


def test_modules_of_the_caller_s_directory_are_not_taken_for_ours(tree: Tree, tmp_path: Path) -> None:
    for name in ("click.py", "trimtab.py", "yaml.py"):
        (tmp_path / name).write_text("raise SystemExit('taken from the wrong place')\n")
    assert tree.run(tree.root / "deploy.sh", "--help", cwd=tmp_path).returncode == 0


def test_the_exit_code_is_the_cli_s(tree: Tree) -> None:
    assert tree.run(tree.root / "deploy.sh", "no-such-command").returncode == 2


def test_a_current_environment_costs_30_ms_and_no_network(tree: Tree) -> None:
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        done = tree.setup(
            PIP_INDEX_URL="http://127.0.0.1:9/", UV_DEFAULT_INDEX="http://127.0.0.1:9/", HOME="/nonexistent"
        )
        seconds.append(time.perf_counter() - began)
        assert (done.returncode, done.stderr) == (0, "")
    assert min(seconds) < 0.03


def test_a_changed_lock_changes_the_environment_and_leaves_torch_alone(tree: Tree) -> None:
    lock = tree.root / "requirements.lock"
    before = lock.read_text()
    torch = (tree.site / "torch/__init__.py").stat().st_mtime_ns
    lock.write_text((tree.root / "requirements-dev.lock").read_text())
    done = tree.setup(PIP_FIND_LINKS="")  # nor is it looked for again
    assert done.returncode == 0, done.stderr
    assert "up to date with the locks" in done.stderr
    assert (tree.site / "iniconfig").is_dir()
    lock.write_text(before)
    assert tree.setup(PIP_FIND_LINKS="").returncode == 0
    assert not (tree.site / "iniconfig").exists()
    assert (tree.site / "torch/__init__.py").stat().st_mtime_ns == torch
    assert tree.answers()


def test_an_environment_with_the_suite_s_tools_satisfies_a_call_without(tree: Tree) -> None:
    assert tree.setup("--dev").returncode == 0
    assert (tree.site / "iniconfig").is_dir()
    stamp = tree.stamp.read_text()
    assert tree.setup().returncode == 0
    assert tree.stamp.read_text() == stamp


@pytest.mark.parametrize("missing", ["bin/python", "lib/python*/site-packages/click"])
def test_an_environment_with_a_part_missing_is_made_anew(tree: Tree, missing: str) -> None:
    path = next((tree.root / ".venv").glob(missing))
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    assert tree.answers()
    assert next((tree.root / ".venv").glob(missing)).exists()


def test_a_setup_killed_half_way_is_made_good_by_the_next_call(tree: Tree) -> None:
    shutil.rmtree(tree.root / ".venv")
    setup = subprocess.Popen([tree.root / "scripts/setup-venv"], env=tree.environment, start_new_session=True)
    while not (tree.root / ".venv/bin/uv").exists():
        assert setup.poll() is None
        time.sleep(0.01)
    os.killpg(setup.pid, signal.SIGKILL)
    setup.wait()
    assert not tree.stamp.exists()
    assert tree.answers()


def test_two_calls_at_once_leave_one_whole_environment(tree: Tree) -> None:
    shutil.rmtree(tree.root / ".venv")
    calls = [
        subprocess.Popen(
            [tree.root / "deploy.sh", "--help"],
            env=tree.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [call.communicate(timeout=200) for call in calls]
    assert [call.returncode for call in calls] == [0, 0], told
    assert sum("making .venv" in err for _, err in told) == 1


def test_a_moved_tree_runs_its_own_code(tree: Tree, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(tree.root, moved, symlinks=True)
    assert tree.run(moved / "deploy.sh", "--help").returncode == 0
    done = tree.run(moved / ".venv/bin/python", "-c", "import trimtab; print(trimtab.__file__)")
    assert done.stdout.startswith(str(moved))


def test_a_file_with_another_hash_is_refused_and_the_next_call_makes_good(tree: Tree) -> None:
    lock = tree.root / "requirements.lock"
    before = lock.read_text()
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", before))
    (tree.root / "requirements-dev.lock").write_text(lock.read_text())
    shutil.rmtree(tree.root / ".venv")
    done = tree.run(tree.root / "deploy.sh", "--help")
    assert done.returncode == 4
    assert THREE_PARTS.search(done.stderr)
    assert "requirements.lock" in done.stderr
    assert not tree.stamp.exists()
    lock.write_text(before)
    assert tree.answers()


@pytest.fixture
def torch_index(tree: Tree, tmp_path: Path) -> Iterator[str]:
    """Serve an index that has torch's stand-in and nothing else."""
    folder = tmp_path / "index/torch"
    shutil.copytree(tree.wheels, folder)
    (folder / "index.html").write_text(
        "".join(f'<a href="{wheel.name}">{wheel.name}</a>' for wheel in folder.glob("*.whl"))
    )
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_torch_comes_from_its_own_index_where_no_other_has_the_cpu_build(tree: Tree, torch_index: str) -> None:
    shutil.rmtree(tree.root / ".venv")
    done = tree.setup(PIP_FIND_LINKS="", TRIMTAB_TORCH_INDEX=torch_index)
    assert done.returncode == 0, done.stderr
    assert (tree.site / "torch").is_dir()


def test_a_python_that_is_too_old_is_named_with_what_to_do(tree: Tree, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")  # as the question whether it is 3.11 or newer would end
    old.chmod(0o755)
    tree.stamp.unlink()
    done = tree.setup(PYTHON=str(old))
    assert done.returncode == 3
    assert THREE_PARTS.search(done.stderr)
    assert str(old) in done.stderr
    assert tree.setup().returncode == 0


@pytest.fixture
def nobody_s_tree(root: Path) -> Iterator[Tree]:
    """Give a tree that belongs to nobody, where nobody can reach it: pytest's own folders are closed to others."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(root, Path(folder) / "tree")
        for path in (Path(folder), *Path(folder).rglob("*")):
            os.chown(path, 65534, 65534)
        yield tree


def test_without_root_a_python_that_cannot_make_environments_is_named_with_the_one_command(nobody_s_tree: Tree) -> None:
    broken = nobody_s_tree.root / "broken"
    broken.mkdir()
    (broken / "ensurepip.py").write_text("raise ImportError\n")  # as where Debian's python3-venv is not installed
    as_nobody = (
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        nobody_s_tree.root / "scripts/setup-venv",
    )
    done = nobody_s_tree.run(*as_nobody, PYTHON="/usr/bin/python3", PYTHONPATH=str(broken))
    assert done.returncode == 3, done.stderr
    assert re.search(r"next: sudo apt-get install python3\.\d+-venv\n", done.stderr)


def test_an_unknown_argument_is_refused(tree: Tree) -> None:
    done = tree.setup("--prod")
    assert done.returncode == 2
    assert THREE_PARTS.search(done.stderr)
