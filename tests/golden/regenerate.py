"""Writes the golden files anew: `python -m tests.golden.regenerate [NAME ...]`. Review the diff before it is kept.

A maker is a function without arguments that returns {path under tests/golden: text}; whoever has golden files adds one
line to MAKERS. `tests/golden/test_golden.py` compares what the makers return with the files.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent
MAKERS: Final[Mapping[str, str]] = {
    "images": "tests.golden.images_makers:make",
    "infra": "tests.golden.infra_makers:make",
    "releases": "tests.golden.releases_makers:make",
    "workflows": "tests.golden.workflows_makers:make",
}


def make(name: str) -> dict[str, str]:
    """Return what a maker makes."""
    module, _, function = MAKERS[name].partition(":")
    files: dict[str, str] = getattr(importlib.import_module(module), function)()
    return files


def main(names: list[str]) -> None:
    """Write the files of the named makers, or of all, and take away what none makes any more."""
    for name in names or [*MAKERS]:
        files = make(name)
        for path, text in files.items():
            target = FOLDER / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        for stale in {p.relative_to(FOLDER).as_posix() for p in (FOLDER / name).rglob("*") if p.is_file()} - {*files}:
            (FOLDER / stale).unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
