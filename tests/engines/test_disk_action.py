"""The composite action under act, on a scratch repository and a tree of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.disk import MIB, TOO_MUCH, make_files

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SWIFT = "usr/share/swift"

_WORKFLOW = """\
on: push
permissions: {}
jobs:
  clean:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
      - id: disk
        uses: ./.github/actions/free-disk-space
        with: %s
      - if: ${{ always() }}
        env:
          FREED: ${{ steps.disk.outputs.freed-bytes }}
          FREE: ${{ steps.disk.outputs.free-bytes }}
        run: echo "freed=$FREED free=$FREE"
"""


@pytest.fixture(scope="module")
def act() -> str:
    """Give act's path; skip the test where it is not installed."""
    program = BIN / "act"
    if not program.is_file():
        pytest.skip("act is not installed: scripts/setup-venv --dev")
    return str(program)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    make_files(tree, {f"{SWIFT}/usr/bin/swift-frontend": 3 * MIB, "usr/share/dotnet/sdk/9/x.dll": MIB, "usr/keep": 10})
    return tree


def run_action(act: str, folder: Path, tree: Path, inputs: Mapping[str, str]) -> tuple[int, list[dict[str, Any]]]:
    """Play a workflow that uses the action with these inputs on a tree; return act's exit code and what it told."""
    repository = folder / "repository"
    for name in (".github/actions/free-disk-space/action.yml", "scripts/free-disk-space"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, repository / name)
    workflow = repository / ".github" / "workflows" / "clean.yml"
    workflow.parent.mkdir()
    workflow.write_text(_WORKFLOW % json.dumps(dict(inputs)))
    subprocess.run(("git", "init", "--quiet", "--initial-branch", "main"), cwd=repository, check=True)
    subprocess.run(("git", "add", "--all"), cwd=repository, check=True)
    author = ("-c", "user.name=Pilot", "-c", "user.email=pilot@harbour.example")
    subprocess.run(("git", *author, "commit", "--quiet", "--message", "Test"), cwd=repository, check=True)
    done = subprocess.run(
        (act, "push", "--json", "--no-cache-server", "--platform", "ubuntu-24.04=-self-hosted",
         "--env", f"FREE_DISK_SPACE_ROOT={tree}", "--action-cache-path", str(folder / "act")),
        cwd=repository,
        env={name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def printed(lines: list[dict[str, Any]]) -> str:
    return "".join(line["msg"] for line in lines if line.get("raw_output"))


def test_the_action_frees_and_tells_by_outputs_and_a_summary(act: str, tmp_path: Path, tree: Path) -> None:
    code, lines = run_action(act, tmp_path, tree, {"need": TOO_MUCH, "keep": "dotnet\n"})
    assert code != 0  # so much cannot be freed: the step fails, and says why
    assert not (tree / SWIFT).exists()
    assert (tree / "usr/share/dotnet/sdk/9/x.dll").exists()
    said = printed(lines)
    assert f"freed={3 * MIB} free=" in said
    assert "error: not enough room" in said
    summary = "".join(line["content"] for line in lines if line.get("command") == "summary")
    assert "### Disk" in summary
    assert f"{SWIFT} | removed | 3.0 MiB |" in summary


def test_the_action_does_nothing_where_there_is_room(act: str, tmp_path: Path, tree: Path) -> None:
    code, lines = run_action(act, tmp_path, tree, {"need": "1MiB", "wait": "true"})
    assert code == 0
    assert "freed=0 free=" in printed(lines)
    assert (tree / SWIFT).exists()


def test_a_dry_run_of_the_action_removes_nothing(act: str, tmp_path: Path, tree: Path) -> None:
    _, lines = run_action(act, tmp_path, tree, {"need": TOO_MUCH, "dry-run": "true"})
    assert "would be removed" in printed(lines)
    assert (tree / SWIFT / "usr/bin/swift-frontend").exists()


def test_an_input_is_one_word_whatever_it_holds(act: str, tmp_path: Path, tree: Path) -> None:
    hostile = f'1GiB"; touch {tmp_path}/pwned; echo "$(touch {tmp_path}/pwned2)'
    code, lines = run_action(act, tmp_path, tree, {"need": hostile, "keep": f"`touch {tmp_path}/pwned3`/"})
    assert code != 0
    assert "is not a size such as 20GiB" in printed(lines)
    assert not list(tmp_path.glob("pwned*"))
    assert (tree / SWIFT).exists()


def test_the_action_pins_nothing_of_others_and_hands_inputs_over_by_environment() -> None:
    text = (ROOT / ".github/actions/free-disk-space/action.yml").read_text()
    assert "uses:" not in text
    script = text.split("run: |", 1)[1]
    assert "${{" not in script
