"""scripts/check-tree refuses what must not be in the tree. Every offence is put together here, so as not to be one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

OFFENCES = {
    "a package index": "--index-url https://" + "pypi" + ".org/simple",
    "a mirror of packages": "deb http://" + "deb.debian" + ".org/debian bookworm main",
    "an image registry": "registry" + "-1.docker.io",
    "an npm registry": "https://registry.npm" + "js.org/left-pad",
    "PyTorch's index": "https://download." + "pytorch.org/whl/cpu",
    "a person's folder": "cd /ho" + "me/alice/trimtab",
    "an AWS key": "AK" + "IA" + "Q3EGRTZ5XW7YHBNM",
    "a private key": "-----BEGIN RSA PRIVATE " + "KEY-----",
    "a GitHub token": "gh" + "p_" + "a1B2" * 9,
    "a Modal token": "token_id = a" + "k-" + "a1B2c3D4e5F6g7H8i9J0kL",
}


@pytest.fixture
def tree(root: Path, tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "scripts").mkdir()
    shutil.copy(root / "scripts/check-tree", tmp_path / "scripts")
    return tmp_path


def check(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tree / "scripts/check-tree"], capture_output=True, text=True, check=False)


def test_a_clean_tree_passes_without_a_word(tree: Path) -> None:
    (tree / "notes.md").write_text("pip install trimtab; apt-get install docker.io\n")
    done = check(tree)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("offence", OFFENCES.values(), ids=OFFENCES.keys())
def test_a_line_is_refused_with_its_place(tree: Path, offence: str) -> None:
    (tree / "notes.md").write_text(f"first line\n{offence}\n")
    done = check(tree)
    assert done.returncode == 1
    assert f"notes.md:2:{offence}" in done.stdout


def test_the_tree_s_own_place_on_this_machine_is_refused(tree: Path) -> None:
    (tree / "notes.md").write_text(f"cd {tree} && ./deploy.sh\n")
    done = check(tree)
    assert done.returncode == 1
    assert "this machine's own" in done.stdout


def test_a_large_file_is_refused_and_one_of_2_mib_is_not(tree: Path) -> None:
    (tree / "just right.bin").write_bytes(bytes(2 << 20))
    assert check(tree).returncode == 0
    (tree / "too large.bin").write_bytes(bytes((2 << 20) + 1))
    done = check(tree)
    assert done.returncode == 1
    assert done.stdout == "too large.bin: larger than 2 MiB\n"


def test_what_git_ignores_is_not_looked_at(tree: Path) -> None:
    (tree / ".gitignore").write_text(".env\n")
    (tree / ".env").write_text(OFFENCES["an AWS key"])
    assert check(tree).returncode == 0
