"""The SQLite file of a plane: opened, written through, and what its refusals mean to a person.

One process and one thread use it. A write that the system refuses (a full disk) is told to `on_failure`, and raised.
Holds secrets: the file has mode 0600.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimtab.errors import BudgetError, ProgramError, TrimtabError
from trimtab.storage.durable import raise_write_error


class Database(sqlite3.Connection):
    """A connection that tells when the file cannot be written, or read, any more."""

    path: Path
    on_failure: Callable[[TrimtabError], None] | None = None

    def execute(self, *words: Any) -> sqlite3.Cursor:
        """Run one statement."""
        with self._telling():
            return super().execute(*words)

    def executemany(self, *words: Any) -> sqlite3.Cursor:
        """Run one statement for each of many rows."""
        with self._telling():
            return super().executemany(*words)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all of a block, or nothing."""
        self.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """Return the first row of an answer, by names."""
        cursor = self.execute(sql, values)
        cursor.row_factory = sqlite3.Row
        row: sqlite3.Row | None = cursor.fetchone()
        return row

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows of an answer, by names."""
        cursor = self.execute(sql, values)
        cursor.row_factory = sqlite3.Row
        return cursor.fetchall()

    def shrink(self) -> None:
        """Give the file's unused pages back to the file system."""
        with self._telling():
            self.executescript("PRAGMA incremental_vacuum")  # `execute` would take one step, which is one page
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # a fault of ours, and not the file's
        except sqlite3.DatabaseError as error:
            if self.on_failure is not None:
                self.on_failure(_told(error, self.path))
            raise


def open_database(path: Path, schema: str, *, on_failure: Callable[[TrimtabError], None] | None) -> Database:
    """Open a file, or make it. Raises BudgetError on a full disk, ProgramError when it is damaged."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise_write_error(error, f"{path} was not made")
    database = sqlite3.connect(path, isolation_level=None, factory=Database)
    database.path = path
    try:
        database.execute("PRAGMA auto_vacuum=INCREMENTAL")  # of a new file; an older one only uses its pages again
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA cache_size=-512")  # KiB: what is asked for again is young; the rest is the system's
        for statement in schema.split(";"):
            database.execute(statement)
    except sqlite3.DatabaseError as error:
        database.close()
        raise _told(error, path) from error
    database.on_failure = on_failure
    return database


def _told(error: sqlite3.DatabaseError, path: Path) -> TrimtabError:
    """Say what a refusal of the file's means to a person."""
    if error.sqlite_errorname == "SQLITE_FULL":
        return BudgetError(
            "the embedded Modal ended: its disk is full",
            why=f"{path}: {error}",
            remedy="free space on that disk (`trimtab disk report` shows what takes it), then `trimtab modal up`: what "
            "has no result yet runs again",
        )
    return ProgramError(
        "the embedded Modal's state cannot be used",
        why=f"{path}: {error}",
        remedy=f"if it stays so, move {path.parent} away and begin anew with `trimtab modal up`; the files of its "
        f"Volumes lie in {path.parent / 'volumes'}/*/head",
    )
