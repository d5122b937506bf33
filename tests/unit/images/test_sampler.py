"""The sampler: the most that was taken while it watched, and what was being written then."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.unit.disk.test_meter import disk
from trimtab.images.sampler import Sampler

__all__ = ["disk"]

MIB = 1024 * 1024
RUN = "#6 [2/3] RUN pip install"
COPY = "#7 [3/3] COPY app /app"


def hear(sampler: Sampler, *lines: str) -> None:
    for line in lines:
        sampler.hear(line)


def test_the_peak_names_the_layer_that_was_being_written(disk: Path) -> None:
    with Sampler(disk) as sampler:
        hear(sampler, "#6 [2/3] FROM base", "#6 CACHED", RUN)
        (disk / "wheel").write_bytes(b"x" * 20 * MIB)
        time.sleep(0.4)
        (disk / "wheel").unlink()
        hear(sampler, "#6 DONE 1.2s", COPY)
        (disk / "app").write_bytes(b"x" * 5 * MIB)
        time.sleep(0.3)
    assert sampler.peak.size_bytes == 20 * MIB
    assert sampler.peak.layer == "[2/3] RUN pip install"


def test_layers_that_are_written_side_by_side_are_all_named(disk: Path) -> None:
    with Sampler(disk) as sampler:
        hear(sampler, RUN, COPY)
        (disk / "wheel").write_bytes(b"x" * MIB)
        time.sleep(0.3)
    assert sampler.peak.layers == ("[2/3] RUN pip install", "[3/3] COPY app /app")


def test_what_the_builder_does_for_itself_is_no_layer(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path)
    assert sampler.hear("#1 [internal] load build definition from Dockerfile") is None
    assert sampler.hear("#9 exporting to image") == "exporting to image"
    assert (
        sampler.hear("#8 [2/2] RUN --mount=type=bind,from=recipe,target=/r     python /r/x.py")
        == "[2/2] RUN python /r/x.py"
    )
    assert sampler.hear("#9 0.123 some output of it") is None


def test_a_build_that_dies_leaves_its_peak(disk: Path) -> None:
    sampler = Sampler(disk)

    def build() -> None:
        with sampler:
            hear(sampler, RUN)
            (disk / "wheel").write_bytes(b"x" * 3 * MIB)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        build()
    assert (sampler.peak.size_bytes, sampler.peak.layer) == (3 * MIB, "[2/3] RUN pip install")
    assert not [thread for thread in threading.enumerate() if thread.name == "sampler"]


def test_it_looks_more_than_five_times_a_second(disk: Path) -> None:
    """A peak of 0.2 s cannot pass unseen, wherever it begins."""
    for _ in range(5):
        with Sampler(disk) as sampler:
            time.sleep(0.05)
            (disk / "short").write_bytes(b"x" * MIB)
            time.sleep(0.2)
            (disk / "short").unlink()
        assert sampler.peak.size_bytes == MIB
