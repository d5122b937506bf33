"""A cache on a disk that fills up: whole files stay, and with space again the same command goes on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.engines.test_full_disk import small_disk
from tests.support.eeg import ALL, edf_bytes, noise, place, signal_section, small_tree
from training.eeg.populate import fill
from training.eeg.recording_file import read_facts
from trimtab.errors import BudgetError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


def test_a_cache_on_a_full_disk_keeps_what_is_whole_and_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for number in range(8):
        place(data, f"p{number}", edf_bytes(noise(300, 64, seed=number), seconds=10), duration_s=300)
    with small_disk(tmp_path / "disk", "3m") as disk:
        with pytest.raises(BudgetError, match="was not written"):
            fill(data, disk / "cache", signal_section(), ALL)
        built = sorted(disk.rglob("*.eeg"))
        assert 0 < len(built) < 8
        assert all(read_facts(path) for path in built)
        assert not list(disk.rglob("*.part"))
        times = [path.stat().st_mtime_ns for path in built]
        subprocess.run(["mount", "-o", "remount,size=30m", str(disk)], check=True)
        assert len(fill(data, disk / "cache", signal_section(), ALL).recordings) == 8
        assert [path.stat().st_mtime_ns for path in built] == times


def test_data_that_can_only_be_read_is_enough(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        small_tree(disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert len(fill(disk, tmp_path / "cache", signal_section(), ALL).recordings) == 4
