"""Freeing: the argv of scripts/free-disk-space, and how it went.

That program does all of it, alone and without dependencies, so that any project's workflow can; here it is told what
is ours: the images with our label, and our cache of what can be made again.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from trimtab.errors import ToolMissingError
from trimtab.images.build import LABEL_PROJECT
from trimtab.process import Command, Runner

PROGRAM: Final = Path(__file__).resolve().parents[3] / "scripts" / "free-disk-space"
Machine = Literal["detected", "runner", "desk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeing:
    """What is to be freed: `at` lies on the disk that must have room; `keep` are paths, or rows of the table."""

    need_bytes: int
    at: Path
    machine: Machine = "detected"
    keep: tuple[str, ...] = ()
    project: str | None = None
    own_folder: Path | None = None
    is_dry: bool = False
    waits: bool = False


def free_argv(freeing: Freeing) -> tuple[str, ...]:
    """Return the argv that frees, and says in one JSON document how it went."""
    return (
        sys.executable, str(PROGRAM),
        "--need", f"{freeing.need_bytes}B",
        "--at", str(freeing.at),
        "--json", "--no-verdict",
        *(() if freeing.machine == "detected" else (f"--{freeing.machine}",)),
        *(word for path in freeing.keep for word in ("--keep", path)),
        *(("--own-label", f"{LABEL_PROJECT}={freeing.project}") if freeing.project else ()),
        *(("--own-folder", str(freeing.own_folder)) if freeing.own_folder else ()),
        *(("--dry-run",) if freeing.is_dry else ()),
        *(("--wait",) if freeing.waits else ()),
    )  # fmt: skip


def free(freeing: Freeing, runner: Runner) -> dict[str, Any]:
    """Free, and return the program's document. Raises UsageError's exit code as ProgramError, and ToolMissingError."""
    if not PROGRAM.is_file():
        raise ToolMissingError(
            f"{PROGRAM} is not there", why="it frees the space", remedy="run trimtab from a checkout of its repository"
        )
    done = runner.run(Command(argv=free_argv(freeing), house=True))
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@contextmanager
def nothing_else_runs(state: Path) -> Iterator[bool]:
    """Tell whether no other command runs in the project, and keep others from starting meanwhile."""
    try:
        descriptor = os.open(state / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
