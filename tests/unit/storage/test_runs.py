"""The registry: records whole, listed, and merged without loss."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import DriftError, UsageError
from trimtab.storage.runs import (
    Artifact,
    Attempt,
    Epoch,
    RunRecord,
    config_digest,
    list_runs,
    merge_runs,
    read_run,
    run_directory,
    write_run,
)

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

attempts = st.builds(
    Attempt,
    started=st.integers(0, 3).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    ended=st.none() | st.just(NOON + timedelta(hours=1)),
    outcome=st.sampled_from(["running", "finished", "interrupted", "failed", "killed"]),
    first_step=st.just(0),
    last_step=st.integers(0, 3),
    message=st.none() | st.just("full disk"),
)
epochs = st.builds(
    Epoch,
    epoch=st.integers(1, 3),
    step=st.integers(1, 3),
    metrics=st.fixed_dictionaries({"loss": st.sampled_from([0.1, 1.0])}),
)
artifacts = st.builds(
    Artifact,
    name=st.sampled_from(["model", "log"]),
    path=st.sampled_from(["a", "b"]),
    size_bytes=st.just(1),
    sha256=st.just(SHA256),
)
records = st.builds(
    RunRecord,
    job=st.just("classifier"),
    run_id=st.just("r1"),
    run_directory=st.just("checkpoints/classifier/2026-03-01/r1"),
    commit=st.sampled_from([None, "abc"]),
    config=st.just({}),
    config_sha256=st.just(SHA256),
    data_sha256=st.just(SHA256),
    attempts=st.lists(attempts, max_size=4).map(tuple),
    epochs=st.lists(epochs, max_size=4).map(tuple),
    final=st.none() | st.sampled_from([{"accuracy": 0.5}, {"accuracy": 1}]),
    artifacts=st.lists(artifacts, max_size=2).map(tuple),
)


def record(run_id: str = "r1") -> RunRecord:
    return RunRecord(
        job="classifier",
        run_id=run_id,
        run_directory=f"checkpoints/classifier/2026-03-01/{run_id}",
        commit=None,
        config={"seed": 1},
        config_sha256=config_digest({"seed": 1}),
        data_sha256=SHA256,
    )


def test_a_written_record_is_read_back_to_the_bit(tmp_path: Path) -> None:
    written = record().model_copy(
        update={"epochs": (Epoch(epoch=1, step=2, metrics={"loss": 0.1 + 0.2}),), "final": {"accuracy": 1 / 3}}
    )
    written = written.with_attempt_begun(started=NOON, first_step=0)
    write_run(tmp_path, written)
    assert read_run(tmp_path, "r1") == written
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["r1.json"]


def test_a_run_that_was_never_recorded_is_none(tmp_path: Path) -> None:
    assert read_run(tmp_path, "r1") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "trimtab-run/2"}', b"\xff"])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "r1.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"r1\.json is not a record"):
        read_run(tmp_path, "r1")


@pytest.mark.parametrize("run_id", ["", ".", "..", "../r1", "a/b", ".hidden", "a b", "a\n", "x" * 65, "a*"])
def test_a_run_id_that_is_not_a_plain_name_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(UsageError, match="is not a run id"):
        read_run(tmp_path, run_id)
    with pytest.raises(UsageError, match="is not a run id"):
        run_directory(tmp_path, job="classifier", run_id=run_id, today=date(2026, 3, 1))


def test_a_retry_after_midnight_goes_on_in_the_directory_of_the_first_attempt(tmp_path: Path) -> None:
    first = run_directory(tmp_path, job="classifier", run_id="r1", today=date(2026, 3, 1))
    assert first == tmp_path / "checkpoints" / "classifier" / "2026-03-01" / "r1"
    first.mkdir(parents=True)
    assert run_directory(tmp_path, job="classifier", run_id="r1", today=date(2026, 3, 2)) == first
    other = run_directory(tmp_path, job="classifier", run_id="r2", today=date(2026, 3, 2))
    assert other.parent.name == "2026-03-02"


def test_a_run_with_directories_of_two_dates_is_an_error_that_names_them(tmp_path: Path) -> None:
    for day in ("2026-03-01", "2026-03-02"):
        (tmp_path / "checkpoints" / "classifier" / day / "r1").mkdir(parents=True)
    with pytest.raises(DriftError, match="2026-03-02"):
        run_directory(tmp_path, job="classifier", run_id="r1", today=date(2026, 3, 3))


def test_records_are_listed_newest_first_and_a_broken_one_hides_none(tmp_path: Path) -> None:
    for minutes, run_id in enumerate(("a", "c", "b")):
        started = NOON + timedelta(minutes=minutes)
        write_run(tmp_path, record(run_id).with_attempt_begun(started=started, first_step=0))
    (tmp_path / "runs" / "broken.json").write_text("{}")
    runs = list_runs(tmp_path)
    assert [item.run_id for item in runs.records] == ["b", "c", "a"]
    (problem,) = runs.unreadable
    assert "broken.json" in problem
    assert list_runs(tmp_path / "missing") == ((), ())


def test_an_attempt_found_running_by_the_next_one_was_killed(tmp_path: Path) -> None:
    one = record().with_attempt_begun(started=NOON, first_step=0)
    two = one.with_attempt_begun(started=NOON + timedelta(minutes=1), first_step=50)
    assert [(item.outcome, item.last_step) for item in two.attempts] == [("killed", 50), ("running", 50)]
    done = two.with_attempt(outcome="finished", ended=NOON + timedelta(minutes=2))
    assert (one.outcome, done.outcome, record().outcome) == ("running", "finished", None)


def test_a_configurations_digest_does_not_depend_on_the_order_of_its_keys() -> None:
    assert config_digest({"a": 1, "b": {"c": 2, "d": 3}}) == config_digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert config_digest({"a": 1}) != config_digest({"a": 2})


@given(records, records, records)
def test_merging_does_not_depend_on_order_and_repetition(one: RunRecord, two: RunRecord, three: RunRecord) -> None:
    assert merge_runs(one, two) == merge_runs(two, one)
    assert merge_runs(merge_runs(one, two), three) == merge_runs(one, merge_runs(two, three))
    merged = merge_runs(one, two)
    assert merge_runs(merged, two) == merge_runs(merged, merged) == merged


@given(records, records)
def test_merging_loses_no_attempt_and_no_epoch(one: RunRecord, two: RunRecord) -> None:
    merged = merge_runs(one, two)
    assert {item.started for item in merged.attempts} == {item.started for item in (*one.attempts, *two.attempts)}
    assert [item.epoch for item in merged.epochs] == sorted({item.epoch for item in (*one.epochs, *two.epochs)})
    assert (merged.final is None) == (one.final is None and two.final is None)


def test_the_further_version_of_an_attempt_wins() -> None:
    begun = record().with_attempt_begun(started=NOON, first_step=0)
    ended = begun.with_attempt(outcome="finished", last_step=9, ended=NOON)
    assert merge_runs(begun, ended).attempts == ended.attempts


def test_records_of_different_runs_are_not_merged() -> None:
    other = record().model_copy(update={"data_sha256": SHA256[::-1]})
    with pytest.raises(DriftError, match="data_sha256"):
        merge_runs(record(), other)
