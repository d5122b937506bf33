"""The image's lock: it holds what the tests ran with, and pins every file by hash."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PIN = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)
LOCK = (ROOT / "services" / "requirements-cpu.lock").read_text(encoding="utf-8")


def test_the_image_gets_the_versions_that_the_tests_ran_with() -> None:
    tested = set(PIN.findall((ROOT / "requirements-dev.lock").read_text(encoding="utf-8")))
    assert set(PIN.findall(LOCK)) <= tested


def test_every_requirement_is_locked_with_hashes_and_names_no_index() -> None:
    wanted = (ROOT / "services" / "requirements-cpu.in").read_text(encoding="utf-8").splitlines()
    locked = {name for name, _ in PIN.findall(LOCK)}
    assert {line for line in wanted if line and not line.startswith("#")} <= locked
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=[a-z])", LOCK)[1:])
    assert "--index-url" not in LOCK
    assert "://" not in LOCK
