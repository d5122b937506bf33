"""The watch: rates, what grows, when the disk is full; and the command, live and with its summary."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.commands import argv_of, environment, trimtab
from tests.support.disk import small_disk
from tests.support.terminal import shown_on_terminal
from trimtab.disk.watch import Growth, Tick, Watch, tick_line
from trimtab.units import GIB, MIB


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_folder_that_grows_is_named_with_its_rate(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "still").mkdir()
    (tmp_path / "cache").mkdir()
    watch = Watch(tmp_path, {"still": tmp_path / "still", "cache": tmp_path / "cache"}, clock=clock)
    assert watch.tick(1).grows == ()
    (tmp_path / "cache" / "wheel").write_bytes(b"x" * 8 * MIB)
    clock.now_s += 4
    (grown,) = watch.tick(1).grows
    assert grown.what == "cache"
    assert grown.gained_bytes >= 8 * MIB
    assert grown.bytes_per_s == pytest.approx(grown.gained_bytes / 4)


def test_the_disk_s_rate_and_the_time_until_it_is_full(tmp_path: Path, clock: Clock) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk:
        watch = Watch(disk, {}, clock=clock)
        assert watch.tick(1).full_in_s is None
        (disk / "a").write_bytes(b"x" * 16 * MIB)
        clock.now_s += 2
        tick = watch.tick(1)
        assert tick.bytes_per_s == 8 * MIB
        assert tick.full_in_s == 48 / 8
        (disk / "a").unlink()
        clock.now_s += 20  # the growth is too long ago to count
        assert watch.tick(1).full_in_s is None
        assert watch.gained_bytes == 0


def test_a_new_layer_of_the_engine_s_is_named_and_an_old_one_is_not_looked_at(tmp_path: Path, clock: Clock) -> None:
    layers = tmp_path / "overlay2"
    for name in ("old", "container", "l"):
        (layers / name / "diff").mkdir(parents=True)
    watch = Watch(tmp_path, {}, layers=layers, layer_names=lambda: {"container": "harbour-gulls"}, clock=clock)
    watch.tick(1)
    (layers / "0123456789abcdef" / "diff").mkdir(parents=True)
    for name in ("old", "container", "0123456789abcdef"):
        (layers / name / "diff" / "file").write_bytes(b"x" * 2 * MIB)
    clock.now_s += 1
    assert {grown.what for grown in watch.tick(1).grows} == {"layer 0123456789ab", "container harbour-gulls"}


def test_a_layer_that_vanishes_is_no_error(tmp_path: Path, clock: Clock) -> None:
    layers = tmp_path / "overlay2"
    layers.mkdir()
    watch = Watch(tmp_path, {}, layers=layers, clock=clock)
    (layers / "new" / "diff").mkdir(parents=True)
    watch.tick(1)
    (layers / "new" / "diff").rmdir()
    (layers / "new").rmdir()
    clock.now_s += 1
    assert watch.tick(1).grows == ()


def test_a_line_says_what_a_person_needs() -> None:
    tick = Tick(
        at_s=3,
        free_bytes=6 * GIB,
        used_bytes=4 * GIB,
        bytes_per_s=100 * MIB,
        full_in_s=61.44,
        grows=(Growth(what="uv cache", gained_bytes=300 * MIB, bytes_per_s=100 * MIB),),
    )
    assert tick_line(tick) == ("6.0 GiB free, +100.0 MiB/s, full in 1 min 01 s   uv cache +300.0 MiB (100.0 MiB/s)")
    assert json.loads(json.dumps(tick.as_data()))["full_in_s"] == 61.4


ENV = environment(DOCKER_HOST="unix:///nonexistent/docker.sock")


def test_a_watch_for_a_time_prints_a_document_a_line_and_a_summary(tmp_path: Path) -> None:
    ended = trimtab("disk", "watch", "--every", "100ms", "--for", "0.5s", "--json", cwd=tmp_path, env=ENV)
    *ticks, last = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.code == 0
    assert ticks
    assert all({"at_s", "free_bytes", "bytes_per_s", "full_in_s", "grows"} <= tick.keys() for tick in ticks)
    assert last["summary"]["free_bytes"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_watch_with_its_summary(number: signal.Signals, tmp_path: Path) -> None:
    argv = argv_of("disk", "watch", "--every", "100ms")
    with subprocess.Popen(argv, cwd=tmp_path, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        time.sleep(0.2)
        running.send_signal(number)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (0, b"")
    assert b" free, " in first
    assert b" are free\n" in out
    assert b"\x1b" not in first + out


def test_on_a_terminal_one_line_is_overwritten(tmp_path: Path) -> None:
    argv = argv_of("disk", "watch", "--every", "100ms", "--for", "0.4s")
    shown = shown_on_terminal(argv, env={**ENV, "TERM": "xterm", "COLUMNS": "80"})
    assert shown.count("\r\x1b[2K") >= 2
    assert shown.count("\n") < 12


@pytest.mark.parametrize("words", [("--every", "0s"), ("--every", "2"), ("--for", "soon"), ("--every", "2h")])
def test_a_wrong_time_is_refused_with_2(words: tuple[str, ...], tmp_path: Path) -> None:
    ended = trimtab("disk", "watch", *words, cwd=tmp_path, env=ENV)
    assert (ended.code, ended.out) == (2, "")
