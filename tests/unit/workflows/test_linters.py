"""What is rendered for any catalogue passes GitHub's schemas, actionlint and zizmor at its most pedantic."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.workflows_makers import worlds
from workflows.rendered import render

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def trees(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render every catalogue into a folder of its own, beside the actions that it uses."""
    folder = tmp_path_factory.mktemp("rendered")
    for name, world in worlds().items():
        shutil.copytree(root / ".github" / "actions", folder / name / ".github" / "actions")
        for path, text in render(world).items():
            (folder / name / path).parent.mkdir(exist_ok=True)
            (folder / name / path).write_text(text)
    return folder


def run(*argv: str | Path, cwd: Path) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", worlds())
def test_actionlint_finds_nothing(name: str, trees: Path) -> None:
    files = sorted((trees / name / ".github" / "workflows").glob("*.yml"))
    labels = trees / name / "actionlint.yaml"
    labels.write_text("self-hosted-runner: {labels: []}\n")
    run(BIN / "actionlint", "-config-file", labels, "-shellcheck", BIN / "shellcheck", *files, cwd=trees / name)


def test_zizmor_finds_nothing(root: Path, trees: Path) -> None:
    config = root / ".github" / "zizmor.yml"
    options = ("--quiet", "--offline", "--strict-collection", "--persona", "pedantic", "--config", config)
    run(BIN / "zizmor", *options, *(trees / name for name in worlds()), cwd=trees)


@pytest.mark.parametrize(
    ("schema", "pattern"), [("workflows", "*/.github/workflows/*.yml"), ("actions", "*/.github/actions/*/action.yml")]
)
def test_github_s_schemas_hold(schema: str, pattern: str, trees: Path) -> None:
    run(
        BIN / "check-jsonschema", "--builtin-schema", f"vendor.github-{schema}", *sorted(trees.glob(pattern)), cwd=trees
    )
