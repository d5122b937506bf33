"""Every golden file is what the code makes today."""

from __future__ import annotations

import pytest

from tests.golden.regenerate import FOLDER, MAKERS, make


@pytest.mark.parametrize("name", MAKERS)
def test_the_golden_files_are_what_the_code_makes(name: str) -> None:
    files = make(name)
    kept = {path.relative_to(FOLDER).as_posix(): path.read_text() for path in (FOLDER / name).rglob("*.*")}
    assert kept == files, f"if the change is meant: python -m tests.golden.regenerate {name}"
