"""A project on this machine: where its root is, its catalogue, and where its state lies. Finds folders; writes none."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.errors import UsageError

if TYPE_CHECKING:
    from trimtab.catalogue import Catalogue

CATALOGUE_NAME: Final = "trimtab.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The root, the catalogue and the state folder, which every command starts from."""

    root: Path
    catalogue_path: Path
    catalogue: Catalogue
    state: Path

    def python_argv(self, module: str, *arguments: str) -> tuple[str, ...]:
        """Return the argv that runs a module of this project with this very Python."""
        return (sys.executable, "-m", module, *arguments)


def find_project(catalogue: Path | None = None) -> Project:
    """Return the project of a catalogue file, of $TRIMTAB_ROOT, or of the nearest folder upwards that has one.

    The state lies in `.trimtab/` beside the catalogue, or in $TRIMTAB_STATE. Raises UsageError when there is none.
    """
    from trimtab.catalogue import load_catalogue

    path = catalogue or _nearest_catalogue()
    root = Path(os.environ.get("TRIMTAB_ROOT") or path.resolve().parent).absolute()
    state = Path(os.environ.get("TRIMTAB_STATE") or root / ".trimtab")
    return Project(root=root, catalogue_path=path.absolute(), catalogue=load_catalogue(path), state=state.absolute())


def _nearest_catalogue() -> Path:
    named = os.environ.get("TRIMTAB_ROOT")
    places = [Path(named)] if named else [Path.cwd(), *Path.cwd().parents]
    for place in places:
        if (place / CATALOGUE_NAME).is_file():
            return place / CATALOGUE_NAME
    raise UsageError(
        f"there is no {CATALOGUE_NAME}",
        why=f"TRIMTAB_ROOT names {named}, which holds none"
        if named
        else f"neither {places[0]} nor a folder above it holds one",
        remedy="run from inside a Trimtab project, or name the file with --catalogue PATH",
    )


def current_commit(root: Path) -> str:
    """Return the commit that is checked out, or an empty text outside of git. Reads .git itself: no program is run."""
    git = root / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.is_file():
            return loose.read_text().strip()
        packed = (line.split(" ", 1) for line in (git / "packed-refs").read_text().splitlines() if " " in line)
        return next((commit for commit, name in packed if name == reference), "")
    except OSError:
        return ""
