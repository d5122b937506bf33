"""GitHub's workflows on this machine: act runs what is rendered, in a copy of the tree with a catalogue of its own.

A job runs on this machine itself (`-self-hosted`), in a folder that act copies the tree into, and so without a `.venv`.
The copy's scripts/setup-venv therefore lends the one that the tests run in, instead of making one for each job; the
real one has tests of its own. Everything else is the tree's: deploy.sh, the actions, the workflows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

_SETUP_VENV = f"""\
#!/usr/bin/env bash
# Lends the environment that the tests run in: tests/support/act.py
set -euo pipefail
cd "$(dirname "$(readlink -f "${{BASH_SOURCE[0]}}")")/.."
ln --symbolic --force --no-dereference {BIN.parent} .venv
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What act told of one run, line by line."""

    code: int
    lines: tuple[Mapping[str, Any], ...]
    errors: str

    def job(self, name: str) -> str:
        """Return how a job ended: success, failure, or skipped where it never began. A matrix ends as its worst job."""
        ended = [line["jobResult"] for line in self._of(name, {}) if "jobResult" in line]
        return str(ended[-1]) if ended else "skipped"

    def matrix(self, name: str) -> list[Mapping[str, Any]]:
        """Return the matrix of every job of this id that ran, in the order of their ends."""
        return [line["matrix"] for line in self._of(name, {}) if "jobResult" in line]

    def step(self, job: str, name: str, **matrix: str) -> str:
        """Return how a step ended, skipped where it did not run."""
        ended = [line["stepResult"] for line in self._of(job, matrix) if "stepResult" in line and line["step"] == name]
        return str(ended[-1]) if ended else "skipped"

    def summary(self, job: str) -> str:
        """Return what a job wrote on the run's page."""
        return "".join(line["content"] for line in self._of(job, {}) if line.get("command") == "summary")

    def printed(self, job: str) -> str:
        """Return what a job printed."""
        return "".join(line["msg"] for line in self._of(job, {}) if line.get("raw_output"))

    def output(self, job: str, name: str) -> str:
        """Return what a job handed on under a name."""
        found = [
            line["arg"] for line in self._of(job, {}) if line.get("command") == "set-output" and line["name"] == name
        ]
        return str(found[-1])

    def spans(self, job: str) -> list[tuple[str, str]]:
        """Return when each job of this id began and ended."""
        spans: dict[str, tuple[str, str]] = {}
        for line in self._of(job, {}):
            began, _ = spans.get(line["job"], (line["time"], ""))
            spans[line["job"]] = (began, line["time"])
        return sorted(spans.values())

    def _of(self, job: str, matrix: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
        for line in self.lines:
            if line.get("jobID") == job and matrix.items() <= line.get("matrix", {}).items():
                yield line

    def told(self) -> str:
        """Return everything, for a failed test's message."""
        return "".join(str(line.get("msg", "")).rstrip() + "\n" for line in self.lines)[-8000:] + self.errors[-2000:]


class Checkout:
    """A copy of the tree under git, and act on it."""

    def __init__(self, folder: Path, *, catalogue: str) -> None:
        self.root = folder / "checkout"
        self._cache = folder / "act"
        listed = subprocess.run(
            ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"),
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
        for name in filter(None, listed):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.root / name)
        (self.root / "scripts" / "setup-venv").write_text(_SETUP_VENV)
        (self.root / "trimtab.yaml").write_text(catalogue)
        subprocess.run(("git", "init", "--quiet", "--initial-branch", "main"), cwd=self.root, check=True)

    def commit(self) -> None:
        """Render the workflows of the catalogue as it is now, and commit everything."""
        subprocess.run((sys.executable, "-m", "workflows"), cwd=self.root, check=True, capture_output=True)
        author = ("-c", "user.name=Pilot", "-c", "user.email=pilot@harbour.example")
        subprocess.run(("git", "add", "--all"), cwd=self.root, check=True)
        subprocess.run(
            ("git", *author, "commit", "--quiet", "--allow-empty", "--message", "Test"), cwd=self.root, check=True
        )

    def act(
        self,
        workflow: str,
        event: str,
        *,
        inputs: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Run:
        """Run a workflow on an event, with what a person would fill in."""
        given = {"--input": inputs, "--env": env, "--var": variables, "--secret": secrets}
        words = [
            word for option, values in given.items() for k, v in (values or {}).items() for word in (option, f"{k}={v}")
        ]
        argv = (
            str(BIN / "act"), event,
            "--workflows", f".github/workflows/{workflow}.yml",
            "--json",
            "--platform", "ubuntu-24.04=-self-hosted",
            "--platform", "self-hosted=-self-hosted",
            "--action-cache-path", str(self._cache),
            "--no-cache-server",
            *words,
            *options,
        )  # fmt: skip
        # Of a workflow that the suite itself may run in nothing comes along.
        outer = ("ACTIONS_", "GITHUB_", "RUNNER_", "TRIMTAB_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
        done = subprocess.run(argv, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        lines = tuple(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
        return Run(code=done.returncode, lines=lines, errors=done.stderr)
