"""The meter: what a real file takes on a real file system, and the memory of real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.disk.meter import Meter, free_bytes, used_bytes

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of our own, so that nobody else writes to it while we measure.

    Without root it is a folder in /dev/shm: a quiet one that we may not fill.
    """
    place = tmp_path / "disk"
    place.mkdir()
    argv = ("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place))
    if os.geteuid() == 0 and subprocess.run(argv, capture_output=True, check=False).returncode == 0:
        yield place
        subprocess.run(("umount", str(place)), check=True)
    else:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            yield Path(folder)


def write(path: Path, size_bytes: int) -> None:
    path.write_bytes(b"x" * size_bytes)


def test_a_file_is_measured_to_the_block(disk: Path) -> None:
    before = used_bytes((disk,))
    write(disk / "file", 10 * MIB)
    assert used_bytes((disk,)) - before == 10 * MIB


def test_folders_on_one_file_system_are_counted_once(disk: Path) -> None:
    write(disk / "file", 10 * MIB)
    (disk / "a").mkdir()
    (disk / "b").mkdir()
    assert used_bytes((disk / "a", disk / "b", disk)) == used_bytes((disk,))


def test_folders_on_two_file_systems_are_added(disk: Path) -> None:
    write(disk / "file", 10 * MIB)
    other = used_bytes((Path("/proc"),))
    assert used_bytes((disk, Path("/proc"))) == used_bytes((disk,)) + other


def test_a_folder_that_is_not_there_yet_is_measured_where_it_would_lie(disk: Path) -> None:
    write(disk / "file", 10 * MIB)
    assert used_bytes((disk / "not" / "yet",)) == used_bytes((disk,))
    assert free_bytes(disk / "not" / "yet") == free_bytes(disk)


def test_free_room_is_what_can_really_be_written(disk: Path) -> None:
    assert free_bytes(disk) == shutil.disk_usage(disk).free
    if disk.is_mount():
        write(disk / "file", free_bytes(disk))
        assert free_bytes(disk) == 0
        with pytest.raises(OSError, match="No space left on device"):
            write(disk / "more", MIB)


def test_a_cost_is_the_peak_what_remains_and_the_time(disk: Path) -> None:
    with Meter((disk,)) as meter:
        write(disk / "before", 5 * MIB)
        start = meter.sample()
        write(disk / "scratch", 20 * MIB)
        write(disk / "kept", 10 * MIB)
        time.sleep(0.5)
        (disk / "scratch").unlink()
        cost = meter.cost_since(start)
    assert (cost.peak_bytes, cost.kept_bytes) == (30 * MIB, 10 * MIB)
    assert 0.5 <= cost.wall_s < 3


def test_what_is_written_on_another_disk_is_not_counted_where_one_is_asked_for(disk: Path, tmp_path: Path) -> None:
    with Meter((disk, tmp_path)) as meter:
        start = meter.sample()
        write(disk / "here", 5 * MIB)
        write(tmp_path / "there", 50 * MIB)
        assert meter.cost_since(start, disk).peak_bytes == 5 * MIB
        assert meter.cost_since(start).peak_bytes > 5 * MIB


def test_freeing_room_costs_nothing(disk: Path) -> None:
    write(disk / "old", 20 * MIB)
    with Meter((disk,)) as meter:
        start = meter.sample()
        (disk / "old").unlink()
        cost = meter.cost_since(start)
    assert (cost.peak_bytes, cost.kept_bytes) == (0, 0)


def test_a_peak_between_two_looks_of_ours_is_seen_by_the_background(disk: Path) -> None:
    with Meter((disk,)) as meter:
        start = meter.sample()
        write(disk / "scratch", 30 * MIB)
        time.sleep(0.6)
        (disk / "scratch").unlink()
        time.sleep(0.3)
        assert meter.cost_since(start).peak_bytes == 30 * MIB


def test_what_was_before_the_stretch_does_not_count(disk: Path) -> None:
    with Meter((disk,)) as meter:
        write(disk / "scratch", 30 * MIB)
        time.sleep(0.3)
        (disk / "scratch").unlink()
        start = meter.sample()
        assert meter.cost_since(start).peak_bytes == 0


def test_the_memory_of_what_we_started_is_counted(tmp_path: Path) -> None:
    hold = f"held = bytearray(b'x') * {100 * MIB}; print('held', flush=True); input()"
    with Meter((tmp_path,)) as meter:
        alone = meter.sample().memory_bytes
        argv = (sys.executable, "-S", "-c", hold)
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            grown = meter.sample().memory_bytes - alone
            child.communicate(b"\n")
        after = meter.sample().memory_bytes
    assert 95 * MIB < grown < 160 * MIB
    assert after - alone < 50 * MIB


def test_samples_come_several_times_a_second_and_end_with_the_meter(tmp_path: Path) -> None:
    with Meter((tmp_path,)) as meter:
        time.sleep(1.1)
    count = len(meter.samples)
    assert 4 <= count <= 8
    time.sleep(0.4)
    assert len(meter.samples) == count
    assert not [thread for thread in threading.enumerate() if thread.name == "meter"]
