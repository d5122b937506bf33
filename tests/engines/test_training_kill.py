"""The training killed at random moments, and the same command given again, until it ends as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.killing import Nursery, nursery
from tests.support.training import (
    arguments,
    assert_equal_to_the_bit,
    assert_nothing_is_half,
    run_of,
    small_config,
    small_folder,
)
from trimtab.storage.checkpoints import published
from trimtab.storage.runs import read_run

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = int(os.environ.get("TRIMTAB_KILLS") or 24)
EPOCHS_BEFORE_EACH_KILL_OF_THE_REAL_COMMAND = (1, 0, 2, 1)
CALL = "training.classifier.__main__:main"
# The last two are what torch imports with the first optimiser, in 1.4 s.
MODULES = (
    "training.classifier.__main__",
    "training.harness.attempt",
    "training.classifier.job",
    "torch._dynamo",
    "torch._inductor",
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_folder(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="session")
def children(root: Path) -> Iterator[Nursery]:
    with nursery(root, *MODULES) as opened:
        yield opened


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory, where there is one: on a busy disk the syncs of 60 trainings took 150 s, here 18 s.

    A killed process leaves the same there; what a disk does is test_checkpoint_kill's and test_full_disk's.
    """
    if not os.access("/dev/shm", os.W_OK):  # noqa: S108  # the system's own directory in memory
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:  # as above
        yield Path(directory)


def test_however_often_it_is_killed_the_result_is_equal_to_the_bit(
    quick_path: Path, children: Nursery, folder: Path
) -> None:
    draw = random.Random(20260402)  # noqa: S311  # moments to kill at, the same each time
    config, output = small_config(quick_path / "config.yaml"), quick_path / "output"
    assert children.run(CALL, arguments(config, folder, quick_path / "whole"), output=output) == 0, output.read_text()
    kills = trainings = 0
    while kills < KILLS:
        trainings += 1
        results = quick_path / f"killed-{trainings}"
        code = None
        while code != 0:
            code = children.kill(
                CALL,
                arguments(config, folder, results),
                output=output,
                after_lines=draw.choice([0, 1, 1, 2, 2]),  # the first line says that it begins, the others are epochs
                then_s=draw.uniform(0, 0.1),
                number=draw.choice([signal.SIGKILL] * 4 + [signal.SIGINT]),
            )
            # 130: interrupted, and saved if it was begun; 1 and -2: before it listened, as any program ends then.
            assert code in (0, -signal.SIGKILL, 130, 1, -signal.SIGINT), output.read_text()
            kills += code != 0
            was_begun = code == 130 and "before its first step" not in output.read_text().splitlines()[-1]
            assert not was_begun or run_of(results)[0].outcome == "interrupted"
            assert_nothing_is_half(results)
        assert_equal_to_the_bit(results, quick_path / "whole")
    attempts = [run_of(quick_path / f"killed-{number}")[0].attempts for number in range(1, trainings + 1)]
    resumed = [attempt.first_step for of_run in attempts for attempt in of_run if attempt.first_step > 0]
    assert len(resumed) > KILLS // 6  # they did go on, and did not only begin again
    assert any(step % 8 for step in resumed)  # in the middle of an epoch of 8 steps, too


def start(root: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "training.classifier", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, Any, str]:
    """Return exit code, the JSON on stdout (or None) and stderr."""
    out, err = process.communicate(timeout=120)
    return process.returncode, json.loads(out) if out else None, err


def wait_for_the_first_step(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("run "), line + process.stderr.read()
    return line


def test_the_real_command_killed_goes_on_from_its_last_checkpoint_to_the_same_bits(
    quick_path: Path, root: Path, folder: Path
) -> None:
    draw = random.Random(20260403)  # noqa: S311  # moments to kill at, the same each time
    config = small_config(quick_path / "config.yaml", threads=2, optimisation={"epochs": 12})
    code, whole, err = finish(start(root, *arguments(config, folder, quick_path / "whole")))
    assert (code, whole["outcome"], whole["resumed_from_step"]) == (0, "finished", None), err
    results = quick_path / "killed"
    resumed_from: list[str] = []
    for epochs in EPOCHS_BEFORE_EACH_KILL_OF_THE_REAL_COMMAND:
        process = start(root, *arguments(config, folder, results))
        resumed_from.append(wait_for_the_first_step(process))
        for _ in range(epochs):
            assert process.stderr is not None
            process.stderr.readline()
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        code, _, err = finish(process)
        assert code == -signal.SIGKILL, err
        assert_nothing_is_half(results)
    code, result, err = finish(start(root, *arguments(config, folder, results)))
    assert (code, result["outcome"]) == (0, "finished"), err
    assert_equal_to_the_bit(results, quick_path / "whole")
    assert len(set(resumed_from)) >= 3  # it got on
    record = read_run(results, result["run_id"])
    assert record is not None
    assert [attempt.outcome for attempt in record.attempts] == ["killed"] * 4 + ["finished"]

    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    code, again, _ = finish(start(root, *arguments(config, folder, results)))
    assert (code, again["outcome"], again["final"]) == (0, "already finished", result["final"])
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_saves_says_so_and_goes_on_to_the_same_bits(
    tmp_path: Path, root: Path, children: Nursery, folder: Path, number: signal.Signals, expected: int
) -> None:
    # Checkpoints only at the ends of epochs, so that the one that is found in between was made by the signal.
    longer = {"optimisation": {"epochs": 20}, "checkpoints": {"every_steps": 1000}}
    config = small_config(tmp_path / "config.yaml", **longer)
    results = tmp_path / "results"
    process = start(root, *arguments(config, folder, results))
    wait_for_the_first_step(process)
    time.sleep(0.1)
    process.send_signal(number)
    code, result, err = finish(process)
    assert (code, result["outcome"]) == (expected, "interrupted"), err
    assert f"interrupted at step {result['last_step']}" in err
    record, run = run_of(results)
    assert [attempt.outcome for attempt in record.attempts] == ["interrupted"]
    assert published(run)[-1].step == record.attempts[0].last_step == result["last_step"]

    for directory in (results, tmp_path / "whole"):
        assert children.run(CALL, arguments(config, folder, directory), output=tmp_path / "output") == 0
    assert run_of(results)[0].attempts[1].first_step == result["last_step"]
    assert_equal_to_the_bit(results, tmp_path / "whole")
