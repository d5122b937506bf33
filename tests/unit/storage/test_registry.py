"""The registry: what several places know of a run, put together, and how the run then stands."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from tests.support.registry_of_runs import SHA256, attempt, launch, record
from trimtab.storage.launches import encoded
from trimtab.storage.registry import Found, Run, read_found, registry_of
from trimtab.storage.runs import used_s


def only(*places: Found) -> Run:
    (run,) = registry_of(places).runs
    return run


def stands(outcome: str | None, call: str | None, message: str | None = None) -> str:
    """Say how a run stands whose attempt ended so, and of whose call Modal says so."""
    attempts = () if outcome is None else (attempt(0, 5, outcome=outcome, message=message),)
    records = () if outcome is None else (record("r1", *attempts),)
    calls: dict[str, Any] = {} if call is None else {"fc-1": {"state": call, "error": None}}
    return only(Found(place="modal", records=records, launches=(launch(),), calls=calls)).state


@pytest.mark.parametrize(
    ("outcome", "call", "message", "state"),
    [
        (None, None, None, "launched"),
        (None, "running", None, "starting"),
        (None, "failed", None, "failed"),
        ("running", "running", None, "running"),
        ("interrupted", "running", None, "running"),  # preempted: the next attempt is on its way
        ("failed", "running", None, "running"),
        ("finished", "running", None, "finished"),  # its record is written before its call is over
        ("finished", "forgotten", None, "finished"),
        ("running", "failed", None, "killed"),
        ("running", "forgotten", None, "killed"),
        ("interrupted", "stopped", None, "stopped"),
        ("running", "stopped", None, "stopped"),
        ("interrupted", "finished", "stopped by its budget limit", "capped"),
        ("failed", "failed", "out of memory", "failed"),
        ("interrupted", None, None, "interrupted"),
    ],
)
def test_a_run_stands_as_its_call_says_first_and_then_its_last_attempt(
    outcome: str | None, call: str | None, message: str | None, state: str
) -> None:
    assert stands(outcome, call, message) == state


def test_what_places_know_is_put_together_in_any_order() -> None:
    begun = record("r1", attempt(0))
    ended = record("r1", attempt(0, 9, last_step=50))
    places = (
        Found(place="here", records=(begun,), launches=(launch(),)),
        Found(place="modal", records=(ended,), launches=(launch(), launch("fc-2", minutes=9)), calls={"fc-2": {}}),
        Found(place="bucket", records=(begun, record("r2"))),
    )
    expected = registry_of(places)
    assert [run.run_id for run in expected.runs] == ["r1", "r2"]
    run = expected.runs[0]
    assert run.record == ended
    assert run.places == ("here", "modal", "bucket")
    assert [one.call_id for one in run.launches] == ["fc-2", "fc-1"]
    for order in permutations(places):
        other = registry_of(order)
        assert [(one.run_id, one.record, one.launches) for one in other.runs] == [
            (one.run_id, one.record, one.launches) for one in expected.runs
        ]


def test_a_copy_that_is_of_another_run_is_left_out_and_said() -> None:
    other = record("r1").model_copy(update={"data_sha256": SHA256[::-1]})
    registry = registry_of((Found(place="here", records=(record("r1"),)), Found(place="bucket", records=(other,))))
    assert registry.runs[0].record == record("r1")
    assert "bucket: two records of r1 cannot be merged" in registry.problems[0]


def test_a_document_that_is_no_record_hides_none_of_the_others() -> None:
    answer = {
        "records": {"runs/r1.json": record("r1").model_dump(mode="json"), "runs/x.json": "{torn", "runs/y.json": {}},
        "launches": {"launches/fc-1.json": json.loads(encoded(launch())), "launches/z.json": []},
        "calls": {"fc-1": {"state": "running", "error": None}},
    }
    found = read_found("modal", answer)
    assert (found.records, found.launches) == ((record("r1"),), (launch(),))
    assert len(found.problems) == 3
    assert all(problem.startswith("modal: ") for problem in found.problems)
    assert only(found).open_call == "fc-1"


def test_a_call_without_a_launch_is_known_by_its_attempts() -> None:
    run = only(
        Found(place="modal", records=(record("r1", attempt(0, call="fc-9")),), calls={"fc-9": {"state": "running"}})
    )
    assert (run.call_ids, run.open_call, run.state) == (("fc-9",), "fc-9", "running")


def test_the_seconds_of_attempts_count_from_their_containers_and_a_killed_one_until_the_next() -> None:
    tried = record(
        "r1",
        attempt(0, 10, call="fc-1"),
        attempt(20, call="fc-1", outcome="killed", seen=None),
        attempt(50, call="fc-2"),
    )
    assert used_s(tried, call="fc-1") == (10 + 30) * 60
    assert used_s(tried, call="fc-2") == 60  # it was never seen after its start
    assert used_s(tried, until=attempt(60).began) == (10 + 30 + 10) * 60
    assert used_s(record()) == used_s(None) == 0
