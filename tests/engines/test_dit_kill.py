"""The diffusion transformer's training killed at random moments: the same weights and the same pictures in the end."""

from __future__ import annotations

import os
import random
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines.killing import nursery
from tests.support.training import (
    SMALL_DIT,
    arguments,
    assert_equal_to_the_bit,
    assert_nothing_is_half,
    run_of,
    small_config,
    small_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = 15
CALL = "training.dit.__main__:main"
MODULES = (
    "training.dit.__main__",
    "training.harness.attempt",
    "training.dit.job",
    "torch._dynamo",
    "torch._inductor",
)


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory, where there is one; what a disk does is test_checkpoint_kill's."""
    if not os.access("/dev/shm", os.W_OK):  # noqa: S108  # the system's own directory in memory
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:  # as above
        yield Path(directory)


def grids(run: Path) -> dict[str, bytes]:
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in sorted(run.rglob("*.png"))}


def test_however_often_it_is_killed_weights_and_grids_are_equal_to_the_bit(quick_path: Path, root: Path) -> None:
    draw = random.Random(20260502)  # noqa: S311  # moments to kill at, the same each time
    folder = small_folder(quick_path / "digits")
    config, output = small_config(quick_path / "config.yaml", SMALL_DIT), quick_path / "output"
    with nursery(root, *MODULES) as children:
        assert children.run(CALL, arguments(config, folder, quick_path / "whole"), output=output) == 0, (
            output.read_text()
        )
        expected = grids(run_of(quick_path / "whole")[1])
        assert len(expected) == 7  # one at each of six stretches' ends, and one at the end
        kills = trainings = 0
        firsts: list[int] = []
        while kills < KILLS:
            trainings += 1
            results, code = quick_path / f"killed-{trainings}", None
            while code != 0:
                code = children.kill(
                    CALL,
                    arguments(config, folder, results),
                    output=output,
                    after_lines=draw.choice([0, 1, 1, 2, 2]),
                    then_s=draw.uniform(0, 0.1),
                )
                assert code in (0, -signal.SIGKILL), output.read_text()
                kills += code != 0
                assert_nothing_is_half(results)
            assert_equal_to_the_bit(results, quick_path / "whole")
            record, run = run_of(results)
            assert grids(run) == expected
            firsts += [attempt.first_step for attempt in record.attempts]
    assert any(step % 8 for step in firsts)  # they went on in the middle of a stretch, too
