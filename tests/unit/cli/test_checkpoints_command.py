"""`trimtab checkpoints` on a run's real directory, as whole processes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.commands import trimtab, write_project
from trimtab.storage.checkpoints import open_store, published
from trimtab.storage.retention import Retention
from trimtab.storage.runs import RunRecord, write_run

LOSSES = {10: 0.5, 20: 0.1, 30: 0.3, 40: 0.4}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = write_project(tmp_path / "project")
    results = project / ".trimtab" / "results"
    record = RunRecord(
        job="tides",
        run_id="r1",
        run_directory="checkpoints/tides/2026-03-01/r1",
        commit=None,
        config={},
        config_sha256="0" * 64,
        data_sha256="0" * 64,
    ).with_attempt_begun(started=datetime(2026, 3, 1, tzinfo=UTC), first_step=0)
    write_run(results, record)
    policy = Retention(keep_last=4, metric="loss", greater_is_better=False)
    with open_store(results / record.run_directory, run_id="r1", retention=policy) as store:
        for step, loss in LOSSES.items():
            store.save(step, {"state.pt": lambda stream: stream.write(b"weights")}, metrics={"loss": loss})
    return project


def steps(project: Path) -> list[int]:
    return [item.step for item in published(project / ".trimtab/results/checkpoints/tides/2026-03-01/r1")]


def test_the_list_says_why_each_stays(project: Path) -> None:
    found = trimtab("checkpoints", "list", "--json", cwd=project).document["checkpoints"]

    assert {item["step"]: item["kept_by"] for item in found} == {
        10: ["last"],
        20: ["last", "best"],
        30: ["last"],
        40: ["last"],
    }
    assert {item["run_id"] for item in found} == {"r1"}
    assert "loss 0.1" in trimtab("checkpoints", "list", "r1", cwd=project).out


def test_pruning_leaves_the_last_the_best_and_the_pinned(project: Path) -> None:
    assert trimtab("checkpoints", "pin", "r1", "10", cwd=project).code == 0
    document = trimtab("checkpoints", "prune", "r1", "--keep-last", "1", "--json", cwd=project).document

    assert (document["removed"], document["freed_bytes"]) == ([30], 7)
    assert steps(project) == [10, 20, 40]

    trimtab("checkpoints", "pin", "r1", "10", "--undo", cwd=project)
    trimtab("checkpoints", "prune", "r1", "--keep-last", "1", cwd=project)
    assert steps(project) == [20, 40]


def test_a_dry_run_says_the_same_and_removes_nothing(project: Path) -> None:
    words = ("checkpoints", "prune", "r1", "--keep-last", "1", "--dry-run")

    assert trimtab(*words, "--json", cwd=project).document["removed"] == [10, 30]
    assert "would be removed: 10, 30" in trimtab(*words, cwd=project).out
    assert steps(project) == [10, 20, 30, 40]


def test_nothing_is_removed_while_the_newest_is_damaged(project: Path) -> None:
    newest = project / ".trimtab/results/checkpoints/tides/2026-03-01/r1/step-000000040/state.pt"
    newest.write_bytes(b"weighty")

    ended = trimtab("checkpoints", "prune", "r1", "--keep-last", "1", cwd=project)

    assert ended.code == 2
    assert "step-000000040 is damaged" in ended.err
    assert steps(project) == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "r2"), "there is no run r2"),
        (("prune", "r2"), "there is no run r2"),
        (("pin", "r1", "11"), "the run r1 has no checkpoint of step 11"),
        (("pin", "../r1", "10"), "'../r1' is not a run id"),
    ],
)
def test_what_is_not_there_is_said_by_name(project: Path, words: tuple[str, ...], said: str) -> None:
    ended = trimtab("checkpoints", *words, cwd=project)

    assert ended.code == 2
    assert said in ended.err
    assert steps(project) == [10, 20, 30, 40]


def test_without_a_run_the_list_is_empty(tmp_path: Path) -> None:
    ended = trimtab("checkpoints", "list", "--json", cwd=write_project(tmp_path))

    assert (ended.code, ended.document) == (0, {"checkpoints": []})
