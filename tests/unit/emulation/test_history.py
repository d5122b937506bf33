"""What ran is remembered: old calls are forgotten whole, open ones never, and an older file is read."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from trimtab.emulation.modal.state import State

BLOB = "bl-" + "a" * 22


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def call(state: State, number: int, *, finish: bool) -> None:
    history = state.history
    history.add_call(
        f"fc-{number}", function_id=f"fu-{number}", app_id="ap", caller_app_id="", is_map=False, invocation=0
    )
    history.add_inputs(f"fc-{number}", [(f"in-{number}", 0, f"{BLOB}{number}".encode())])
    history.add_log(app_id="ap", function_id="", call_id="", task_id="", stream=1, state=0, data="said")
    if finish:
        history.finish(f"in-{number}", b"output", 1)


def test_an_old_call_is_forgotten_with_its_blobs_and_an_open_one_is_not(path: Path) -> None:
    state = State(path)
    call(state, 1, finish=True)
    later = time.time() + 1
    assert state.history.called(0) == {"fu-1"}
    assert state.history.called(later) == set()
    assert state.history.blobs(0) == {BLOB}
    assert state.history.old(later) == {"calls": 1, "lines": 1, "bytes": len(BLOB) + 1 + len("output") + len("said")}
    call(state, 2, finish=False)
    state.history.forget(later)
    assert state.history.call("fc-1") is None
    assert state.history.call("fc-2") is not None
    assert len(state.history.logs("ap", after=0, limit=9)) == 2  # the app works on something: all that it said stays
    state.history.finish("in-2", b"", 1)
    state.history.forget(time.time() + 1)
    assert state.history.logs("ap", after=0, limit=9) == []
    state.close()


def test_a_result_is_as_old_as_it_came_and_not_as_its_call(path: Path) -> None:
    state = State(path)
    call(state, 1, finish=False)
    between = time.time()
    time.sleep(0.01)
    state.history.finish("in-1", b"", 1)
    assert state.history.old(between)["calls"] == 0
    state.close()


def test_a_file_of_an_older_trimtab_is_read(path: Path) -> None:
    state = State(path)
    call(state, 1, finish=True)
    state.close()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE input DROP COLUMN finished_at")
    database.close()
    again = State(path)
    assert again.history.old(time.time() + 1)["calls"] == 1
    again.close()


def test_the_file_shrinks_when_much_is_forgotten(path: Path) -> None:
    state = State(path)
    call(state, 1, finish=True)
    state.history.add_inputs("fc-1", [("in-big", 1, b"x" * 5_000_000)])
    state.history.finish("in-big", b"", 1)
    state.history.forget(time.time() + 1)
    assert path.stat().st_size < 1_000_000
    state.close()
