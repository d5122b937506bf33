"""The search for copies killed at random moments, and the same command given again: the same bytes as in one go."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.engines.killing import Nursery, nursery
from trimtab.storage.runs import list_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = int(os.environ.get("TRIMTAB_DEDUP_KILLS", "8"))
CALL = "training.dedup.__main__:main"
MODULES = ("training.dedup.__main__", "training.harness.attempt", "training.dedup.job", "training.dedup.planted")


@pytest.fixture(scope="module")
def children(root: Path) -> Iterator[Nursery]:
    with nursery(root, *MODULES) as opened:
        yield opened


def files_of(results: Path) -> dict[str, bytes]:
    (record,), unreadable = list_runs(results)
    assert unreadable == ()
    assert record.outcome == "finished"
    directory = results / record.run_directory
    assert not [path.name for path in directory.iterdir() if path.name.endswith(".broken")]
    return {name: (directory / name).read_bytes() for name in ("duplicates.json", "contact_sheet.html")}


def test_a_search_that_is_killed_again_and_again_ends_with_the_same_bytes(
    tmp_path: Path, root: Path, children: Nursery
) -> None:
    output = tmp_path / "output"
    data = tmp_path / "data"
    assert children.run("training.dedup.planted:main", ["--out", str(data)], output=output) == 0
    content = yaml.safe_load((root / "configs/local/dedup.yaml").read_text())
    content["threads"] = 1
    content["embedding"]["batch_size"] = 4
    content["checkpoints"]["every_steps"] = 1
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(content))

    def words(results: Path) -> list[str]:
        return ["--config", str(config), "--data", str(data), "--results", str(results)]

    assert children.run(CALL, words(tmp_path / "whole"), output=output) == 0
    moments = random.Random(11)  # noqa: S311 - when to kill is no secret
    killed = 0
    for _ in range(KILLS):
        code = children.kill(
            CALL, words(tmp_path / "cut"), output=output, after_lines=moments.randint(0, 4), then_s=moments.random() / 8
        )
        killed += code == -9
        if code == 0:
            break
    assert killed
    assert children.run(CALL, words(tmp_path / "cut"), output=output) == 0
    assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
    (record,), _ = list_runs(tmp_path / "cut")
    assert any(attempt.first_step for attempt in record.attempts)
