"""Run `trimtab` as a person does, in a project of the test's own, and tell how it ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.catalogues import text

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The result, which is one JSON document and nothing else."""
        document: dict[str, Any] = json.loads(self.out)
        return document


def write_project(folder: Path, **changes: Any) -> Path:
    """Lay out a project whose catalogue is the sound one with these changes, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trimtab.yaml").write_text(text(**changes))
    return folder


def environment(**changes: str) -> dict[str, str]:
    """Return ours without what points at another project, with changes."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")}
    return {**ours, "PYTHONPATH": str(ROOT / "src"), **changes}


def argv_of(*words: str) -> tuple[str, ...]:
    """Return the argv of a whole process that runs the command."""
    return (sys.executable, "-P", "-m", "trimtab", *words)


def trimtab(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run the command in a folder."""
    ended = subprocess.run(
        argv_of(*words),
        cwd=cwd,
        env=environment() if env is None else dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)


def shell(script: str, *, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run a bash script in which `$trimtab` is the command; its status is that of the first part of a pipe."""
    command = " ".join(argv_of())
    ended = subprocess.run(
        ("bash", "-c", f"trimtab='{command}'; {script}; exit ${{PIPESTATUS[0]}}"),
        cwd=cwd,
        env=environment() if env is None else dict(env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)
