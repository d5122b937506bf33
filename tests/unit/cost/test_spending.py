"""What launches cost: attempts times price; and the ledger's line, once, when a call is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.registry_of_runs import at, attempt, launch, record
from trimtab.cost.ledger import Ledger
from trimtab.cost.spending import last_on_modal, probe_id, settle, spent_on, spent_usd
from trimtab.storage.registry import Found, Run, registry_of

if TYPE_CHECKING:
    from pathlib import Path

RUNNING = {"state": "running", "error": None}
FAILED = {"state": "failed", "error": "out of memory"}


def run(*attempts: object, calls: dict[str, dict[str, str | None]] | None = None, launches: int = 1) -> Run:
    sent = tuple(launch(f"fc-{number}", minutes=number) for number in range(1, launches + 1))
    found = Found(place="modal", records=(record("r1", *attempts),), launches=sent, calls=calls or {})  # type: ignore[arg-type]  # attempts, built by keywords
    return registry_of([found]).runs[0]


def test_a_launch_costs_the_minutes_of_its_containers_at_its_own_price() -> None:
    (spent,) = spent_on(run(attempt(0, 31, last_step=600)))
    assert (spent.seconds, spent.usd) == (31 * 60, pytest.approx(3.1))
    assert (spent.attempts, spent.steps, spent.step_s) == (1, 600, 30 * 60)


def test_one_that_runs_costs_until_now() -> None:
    (spent,) = spent_on(run(attempt(0), calls={"fc-1": RUNNING}), now=at(60))
    assert spent.usd == pytest.approx(6.0)


def test_one_that_was_killed_and_never_came_back_costs_until_it_was_last_seen() -> None:
    killed = attempt(0, seen=at(20))
    (spent,) = spent_on(run(killed, calls={"fc-1": FAILED}), now=at(600))
    assert spent.usd == pytest.approx(2.0)


def test_each_launch_pays_for_its_own_attempts() -> None:
    tried = run(attempt(0, 10, call="fc-1", outcome="interrupted"), attempt(20, 80, call="fc-2"), launches=2)
    assert [round(spent.usd, 9) for spent in spent_on(tried)] == [6.0, 1.0]
    assert spent_usd(tried) == pytest.approx(7.0)


def test_what_is_over_is_in_the_ledger_once_with_what_was_predicted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    begun = run(attempt(0), calls={"fc-1": RUNNING})
    assert settle(ledger, begun) == ()
    ended = run(attempt(0, 90, last_step=100), calls={"fc-1": {"state": "finished", "error": None}})
    (entry,) = settle(ledger, ended)
    assert (entry.predicted.usd, entry.measured and entry.measured.usd) == (6.0, pytest.approx(9.0))
    assert settle(ledger, ended) == ()
    last = last_on_modal(ledger, "tides")
    assert last is not None
    assert (last["run_id"], last["state"], last["usd"]) == ("r1", "finished", pytest.approx(9.0))


def test_a_call_of_which_modal_said_nothing_is_not_taken_for_over(tmp_path: Path) -> None:
    assert settle(Ledger(tmp_path / "ledger.jsonl"), run(attempt(0, 9, outcome="interrupted"))) == ()


def test_a_launch_that_failed_before_its_first_step_tells_no_rate(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    (entry,) = settle(ledger, run(attempt(0, 2, outcome="failed"), calls={"fc-1": FAILED}))
    assert entry.outcome == "failed"
    assert last_on_modal(ledger, "tides") is None
    assert last_on_modal(ledger, "gulls") is None


def test_a_probe_is_in_the_ledger_and_is_no_run_of_the_job(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    name = probe_id("tides", at(0))
    tried = attempt(0, 4, last_step=50, outcome="interrupted", message="stopped by its budget limit")
    found = Found(
        place="modal",
        records=(record(name, tried),),
        launches=(launch(run_id=name),),
        calls={"fc-1": {"state": "finished", "error": None}},
    )
    (entry,) = settle(ledger, registry_of([found]).runs[0])
    assert (entry.outcome, entry.result["state"], entry.result["steps"]) == ("done", "capped", 50)
    assert last_on_modal(ledger, "tides") is None
