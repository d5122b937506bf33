"""What ran on the embedded Modal: calls with their inputs and outputs, attempts, and what they printed.

Part of the state's file; kept for a time, and then forgotten. A call that is not finished is never forgotten.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from trimtab.emulation.modal.database import Database

KEEP_S: Final = 7 * 24 * 3600
"""How long results and logs are kept. Modal keeps results 7 days: https://modal.com/docs/guide/job-queue."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS call (
    id TEXT PRIMARY KEY, function_id TEXT NOT NULL, app_id TEXT NOT NULL, caller_app_id TEXT NOT NULL,
    is_map INTEGER NOT NULL, invocation INTEGER NOT NULL, created_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS call_by_function ON call (function_id);
CREATE INDEX IF NOT EXISTS call_by_app ON call (app_id);
CREATE TABLE IF NOT EXISTS input (
    id TEXT PRIMARY KEY, call_id TEXT NOT NULL, idx INTEGER NOT NULL, body BLOB NOT NULL, failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL, entry INTEGER, output BLOB, status INTEGER,
    finished_at REAL);
CREATE INDEX IF NOT EXISTS input_by_call ON input (call_id, idx);
CREATE INDEX IF NOT EXISTS input_by_entry ON input (call_id, entry);
CREATE INDEX IF NOT EXISTS input_unfinished ON input (call_id) WHERE entry IS NULL;
CREATE TABLE IF NOT EXISTS chunk (call_id TEXT NOT NULL, idx INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (call_id, idx));
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, app_id TEXT NOT NULL, function_id TEXT NOT NULL, call_id TEXT NOT NULL,
    task_id TEXT NOT NULL, stream INTEGER NOT NULL, state INTEGER NOT NULL, at REAL NOT NULL, data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS log_by_app ON log (app_id, seq);
CREATE TABLE IF NOT EXISTS task (
    id TEXT PRIMARY KEY, app_id TEXT NOT NULL, function_id TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL,
    ended_at REAL, ending TEXT);
CREATE INDEX IF NOT EXISTS task_by_app ON task (app_id);
"""

_BLOB: Final = re.compile(rb"bl-[0-9A-Za-z]{22}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A piece of output, or a change of an attempt's state (`state`, an api_pb2.TaskState)."""

    seq: int
    app_id: str
    function_id: str
    call_id: str
    task_id: str
    stream: int
    state: int
    at: float
    data: str


class History:
    """The tables of what ran."""

    def __init__(self, database: Database) -> None:
        self._db = database
        if "finished_at" not in {row["name"] for row in self._db.rows("PRAGMA table_info(input)")}:
            self._db.execute("ALTER TABLE input ADD COLUMN finished_at REAL")  # an older Trimtab made the table
        self._entry = self._db.execute("SELECT coalesce(max(entry), 0) FROM input").fetchone()[0]

    # What is old

    def old(self, before: float) -> dict[str, int]:
        """Count the calls and the lines of output that are older than a time, and their bytes."""
        self._choose_old(before)
        size = self._db.execute(
            "SELECT coalesce(sum(length(body) + coalesce(length(output), 0)), 0) FROM input"
            " WHERE call_id IN (SELECT id FROM old)"
            " UNION ALL SELECT coalesce(sum(length(body)), 0) FROM chunk WHERE call_id IN (SELECT id FROM old)"
            " UNION ALL SELECT coalesce(sum(length(data)), 0) FROM log WHERE at < ? AND app_id NOT IN busy",
            (before,),
        ).fetchall()
        calls = self._db.execute("SELECT count(*) FROM old").fetchone()[0]
        lines = self._db.execute("SELECT count(*) FROM log WHERE at < ? AND app_id NOT IN busy", (before,)).fetchone()
        return {"calls": calls, "lines": lines[0], "bytes": sum(row[0] for row in size)}

    def forget(self, before: float) -> None:
        """Forget calls whose last result is older than a time, and attempts and output of before."""
        self._choose_old(before)
        with self._db.transaction():
            self._db.execute("DELETE FROM input WHERE call_id IN (SELECT id FROM old)")
            self._db.execute("DELETE FROM chunk WHERE call_id IN (SELECT id FROM old)")
            self._db.execute("DELETE FROM call WHERE id IN (SELECT id FROM old)")
            self._db.execute("DELETE FROM log WHERE at < ? AND app_id NOT IN busy", (before,))
            self._db.execute("DELETE FROM task WHERE ended_at < ?", (before,))
        self._db.shrink()

    def _choose_old(self, before: float) -> None:
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS old (id TEXT PRIMARY KEY)")
        self._db.execute("DELETE FROM old")
        self._db.execute(
            "CREATE TEMP VIEW IF NOT EXISTS busy AS"
            " SELECT app_id FROM call JOIN input ON input.call_id = call.id WHERE entry IS NULL"
        )
        self._db.execute(
            "INSERT INTO old SELECT id FROM call WHERE created_at < ? AND NOT EXISTS"
            " (SELECT 1 FROM input WHERE call_id = call.id AND (entry IS NULL OR finished_at >= ?))",
            (before, before),
        )

    def called(self, before: float) -> set[str]:
        """Return the functions of which a call would be remembered."""
        self._choose_old(before)
        calls = self._db.execute("SELECT DISTINCT function_id FROM call WHERE id NOT IN (SELECT id FROM old)")
        return {row[0] for row in calls}

    def blobs(self, before: float) -> set[str]:
        """Return the ids of what was too big for a call, wherever what would be remembered names one."""
        self._choose_old(before)
        bodies = self._db.execute(
            "SELECT body FROM input WHERE call_id NOT IN (SELECT id FROM old)"
            " UNION ALL SELECT output FROM input WHERE output NOT NULL AND call_id NOT IN (SELECT id FROM old)"
            " UNION ALL SELECT body FROM chunk WHERE call_id NOT IN (SELECT id FROM old)"
        )
        return {found.decode() for row in bodies for found in _BLOB.findall(row[0])}

    # Calls, their inputs and outputs

    def add_call(
        self, call_id: str, *, function_id: str, app_id: str, caller_app_id: str, is_map: bool, invocation: int
    ) -> None:
        """Note a call."""
        self._db.execute(
            "INSERT INTO call VALUES (?, ?, ?, ?, ?, ?, ?)",
            (call_id, function_id, app_id, caller_app_id, is_map, invocation, time.time()),
        )

    def call(self, call_id: str) -> sqlite3.Row | None:
        """Return a call: id, function_id, app_id, caller_app_id, is_map, invocation, created_at."""
        return self._db.row("SELECT * FROM call WHERE id = ?", call_id)

    def add_inputs(self, call_id: str, inputs: list[tuple[str, int, bytes]]) -> None:
        """Note inputs (id, index, serialised api_pb2.FunctionInput) of a call."""
        with self._db.transaction():
            self._db.executemany(
                "INSERT INTO input VALUES (?, ?, ?, ?, 0, 0, NULL, NULL, NULL, NULL)",
                [(input_id, call_id, idx, body) for input_id, idx, body in inputs],
            )

    def input(self, input_id: str) -> sqlite3.Row | None:
        """Return an input with its call: the columns of both tables."""
        return self._db.row(
            "SELECT input.*, call.function_id, call.app_id, call.invocation, call.is_map"
            " FROM input JOIN call ON call.id = call_id WHERE input.id = ?",
            input_id,
        )

    def count_attempt(self, input_id: str) -> None:
        """Note that one more attempt at an input began."""
        self._db.execute("UPDATE input SET attempts = attempts + 1 WHERE id = ?", (input_id,))

    def count_failure(self, input_id: str) -> None:
        """Note that an attempt at an input failed and is to be repeated."""
        self._db.execute("UPDATE input SET failures = failures + 1 WHERE id = ?", (input_id,))

    def finish(self, input_id: str, output: bytes, status: int) -> None:
        """Keep the output of an input: a serialised api_pb2.FunctionGetOutputsItem."""
        self._entry += 1
        self._db.execute(
            "UPDATE input SET output = ?, status = ?, entry = ?, finished_at = ? WHERE id = ? AND entry IS NULL",
            (output, status, self._entry, time.time(), input_id),
        )

    def outputs(self, call_id: str, *, after: int, first: int, last: int, limit: int) -> list[tuple[int, bytes]]:
        """Return (entry, output) of the inputs whose index lies between first and last, oldest entry first."""
        return self._db.execute(
            "SELECT entry, output FROM input WHERE call_id = ? AND entry > ? AND idx BETWEEN ? AND ?"
            " ORDER BY entry LIMIT ?",
            (call_id, after, first, last, limit),
        ).fetchall()

    def clear_outputs(self, call_id: str) -> None:
        """Forget what was fetched; and the call with its last input."""
        self._db.execute("DELETE FROM input WHERE call_id = ? AND entry IS NOT NULL", (call_id,))

    def unfinished(self, call_id: str) -> int:
        """Count the inputs of a call that have no output."""
        row = self._db.execute("SELECT count(*) FROM input WHERE call_id = ? AND entry IS NULL", (call_id,))
        return int(row.fetchone()[0])

    def statuses(self, call_id: str) -> dict[int | None, int]:
        """Count the inputs of a call by the status of their result; None for those without one."""
        return dict(
            self._db.execute("SELECT status, count(*) FROM input WHERE call_id = ? GROUP BY status", (call_id,))
        )

    def open_inputs(self, *, app_id: str | None = None, call_id: str | None = None) -> list[tuple[str, str, str]]:
        """Return (input, function, app) of what has no output yet: of all, of an app, or of a call."""
        return self._db.execute(
            "SELECT input.id, function_id, app_id FROM input JOIN call ON call.id = call_id WHERE entry IS NULL"
            " AND (? IS NULL OR app_id = ?) AND (? IS NULL OR call_id = ?) ORDER BY input.rowid",
            (app_id, app_id, call_id, call_id),
        ).fetchall()

    def has_open_inputs(self, app_id: str) -> bool:
        """Tell whether an app has anything left to do."""
        row = self._db.row(
            "SELECT 1 FROM call JOIN input ON input.call_id = call.id AND entry IS NULL WHERE app_id = ? LIMIT 1",
            app_id,
        )
        return row is not None

    def calls_of(self, function_id: str) -> list[sqlite3.Row]:
        """Return the calls of a function, oldest first."""
        return self._db.rows("SELECT * FROM call WHERE function_id = ? ORDER BY created_at", function_id)

    def add_chunks(self, call_id: str, chunks: list[tuple[int, bytes]]) -> None:
        """Keep what a generator yielded; a repeated attempt writes over what it had yielded before."""
        with self._db.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO chunk VALUES (?, ?, ?)", [(call_id, index, body) for index, body in chunks]
            )

    def chunks(self, call_id: str, *, after: int, limit: int = 64) -> list[tuple[int, bytes]]:
        """Return (index, chunk) of a generator's call."""
        return self._db.execute(
            "SELECT idx, body FROM chunk WHERE call_id = ? AND idx > ? ORDER BY idx LIMIT ?", (call_id, after, limit)
        ).fetchall()

    # Attempts and logs

    def add_task(self, task_id: str, app_id: str, function_id: str) -> None:
        """Note that an attempt was made."""
        self._db.execute(
            "INSERT INTO task VALUES (?, ?, ?, ?, NULL, NULL, NULL)", (task_id, app_id, function_id, time.time())
        )

    def start_task(self, task_id: str) -> None:
        """Note that an attempt asked for its first input."""
        self._db.execute("UPDATE task SET started_at = ? WHERE id = ?", (time.time(), task_id))

    def end_task(self, task_id: str, ending: str) -> None:
        """Note how an attempt ended."""
        self._db.execute("UPDATE task SET ended_at = ?, ending = ? WHERE id = ?", (time.time(), ending, task_id))

    def end_lost_tasks(self) -> None:
        """Note that attempts of an earlier plane ended with it."""
        self._db.execute(
            "UPDATE task SET ended_at = ?, ending = 'the plane ended' WHERE ended_at IS NULL", (time.time(),)
        )

    def task(self, task_id: str) -> sqlite3.Row | None:
        """Return an attempt: id, app_id, function_id, created_at, started_at, ended_at, ending."""
        return self._db.row("SELECT * FROM task WHERE id = ?", task_id)

    def tasks(self, *, app_id: str | None = None) -> list[sqlite3.Row]:
        """Return the attempts of an app, or all, oldest first."""
        return self._db.rows("SELECT * FROM task WHERE ? IS NULL OR app_id = ? ORDER BY created_at", app_id, app_id)

    def add_log(
        self, *, app_id: str, function_id: str, call_id: str, task_id: str, stream: int, state: int, data: str
    ) -> None:
        """Keep a piece of output."""
        self._db.execute(
            "INSERT INTO log (app_id, function_id, call_id, task_id, stream, state, at, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (app_id, function_id, call_id, task_id, stream, state, time.time(), data),
        )

    def logs(self, app_id: str, *, after: int, limit: int) -> list[LogLine]:
        """Return an app's output after a sequence number."""
        rows = self._db.execute(
            "SELECT seq, app_id, function_id, call_id, task_id, stream, state, at, data FROM log"
            " WHERE app_id = ? AND seq > ? ORDER BY seq LIMIT ?",
            (app_id, after, limit),
        ).fetchall()
        return [_log_line(row) for row in rows]

    def logs_between(self, app_id: str, *, since: float, until: float) -> Iterator[LogLine]:
        """Yield an app's output of a time, youngest first."""
        rows = self._db.execute(
            "SELECT seq, app_id, function_id, call_id, task_id, stream, state, at, data FROM log"
            " WHERE app_id = ? AND at BETWEEN ? AND ? ORDER BY seq DESC",
            (app_id, since, until),
        )
        yield from map(_log_line, rows)


def _log_line(row: tuple[Any, ...]) -> LogLine:
    names = ("seq", "app_id", "function_id", "call_id", "task_id", "stream", "state", "at", "data")
    return LogLine(**dict(zip(names, row, strict=True)))
