"""A runner's tree in a folder, a small disk, and scripts/free-disk-space as a program and as a module."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.commands import Ended

PROGRAM = Path(__file__).resolve().parents[2] / "scripts" / "free-disk-space"
MIB = 1024**2
TOO_MUCH = "9000GiB"
"""More than any disk here has: everything that may go is removed."""


def load_program() -> ModuleType:
    """Return the program as a module."""
    loader = importlib.machinery.SourceFileLoader("free_disk_space", str(PROGRAM))
    spec = importlib.util.spec_from_loader("free_disk_space", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["free_disk_space"] = module
    loader.exec_module(module)
    return module


def make_files(root: Path, sizes: Mapping[str, int]) -> None:
    """Make files of these sizes below a folder, with bytes that take space."""
    for name, size in sizes.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        if size:
            os.posix_fallocate(descriptor, 0, size)
        os.close(descriptor)


def job_environment(folder: Path, **changes: str) -> dict[str, str]:
    """Return the environment of a job whose own folders lie in a folder; nothing of this suite's own."""
    (folder / "temp").mkdir(parents=True, exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "RUNNER_TEMP": str(folder / "temp"), **changes}


def argv_of(*words: str) -> tuple[str, ...]:
    """Return the argv of the program."""
    return (sys.executable, "-W", "error", str(PROGRAM), *words)


def free_disk_space(*words: str, root: Path, job: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Run the program on a tree: `--root` is always given, so that nothing of this machine is touched."""
    ended = subprocess.run(
        argv_of("--root", str(root), *words),
        cwd=job,
        env=dict(env or job_environment(job)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)


def outcomes(ended: Ended, root: Path) -> dict[str, str]:
    """Return {path: outcome} of a run with `--json`; paths as on a runner."""
    document: dict[str, Any] = json.loads(ended.out)
    return {row["path"].removeprefix(str(root)): row["outcome"] for row in document["paths"]}


@contextmanager
def mounted(*argv: str, at: Path) -> Iterator[Path]:
    """Mount something for as long as it is used; skip the test where that is not allowed."""
    at.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    done = subprocess.run(["mount", *argv, str(at)], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine mounts nothing: {done.stderr.decode().strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


@contextmanager
def small_disk(at: Path, size: str) -> Iterator[Path]:
    """Give a disk of its own, of this size."""
    with mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", at=at):
        yield at
