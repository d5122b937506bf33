"""What the embedded Modal remembers, in one SQLite file: what clients defined, what ran, and what apps share.

Used by the plane alone. Everything is written through before it is answered, so a plane that was killed goes on with
what it had promised; nothing is kept in memory but what is being run.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from trimtab.emulation.modal import history, shared
from trimtab.emulation.modal.database import open_database
from trimtab.emulation.modal.definitions import Record
from trimtab.errors import TrimtabError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS record (
    kind TEXT NOT NULL, id TEXT PRIMARY KEY, app_id TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS record_by_name ON record (kind, name);
CREATE INDEX IF NOT EXISTS record_by_app ON record (app_id, kind);
"""

RecordT = TypeVar("RecordT", bound=Record)


class State:
    """The file: records of what was defined; `history` and `shared`."""

    def __init__(self, path: Path, *, on_failure: Callable[[TrimtabError], None] | None = None) -> None:
        """Open the file of a state folder, or make it. Raises BudgetError on a full disk, ProgramError on damage."""
        self._db = open_database(path, _SCHEMA + history.SCHEMA + shared.SCHEMA, on_failure=on_failure)
        self.history = history.History(self._db)
        self.shared = shared.Shared(self._db)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def put(self, record: Record) -> None:
        """Write a record, new or changed."""
        body = json.dumps(
            {
                name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
                for name, value in dataclasses.asdict(record).items()
            }
        )
        self._db.execute(
            "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?)",
            (record.kind, record.id, record.app_id, record.name, body),
        )

    def get(self, kind: type[RecordT], record_id: str) -> RecordT | None:
        """Return a record by its id."""
        row = self._db.execute("SELECT body FROM record WHERE id = ? AND kind = ?", (record_id, kind.kind)).fetchone()
        return None if row is None else _read(kind, row[0])

    def find(self, kind: type[RecordT], name: str) -> RecordT | None:
        """Return the youngest record of a name."""
        row = self._db.execute(
            "SELECT body FROM record WHERE kind = ? AND name = ? ORDER BY rowid DESC LIMIT 1", (kind.kind, name)
        ).fetchone()
        return None if row is None else _read(kind, row[0])

    def all(self, kind: type[RecordT], *, app_id: str | None = None) -> Iterator[RecordT]:
        """Yield the records of a kind, or of one app, in the order in which they came."""
        rows = self._db.execute(
            "SELECT body FROM record WHERE kind = ? AND (? IS NULL OR app_id = ?) ORDER BY rowid",
            (kind.kind, app_id, app_id),
        ).fetchall()
        yield from (_read(kind, row[0]) for row in rows)

    def remove(self, record: Record) -> None:
        """Forget a record."""
        self._db.execute("DELETE FROM record WHERE id = ?", (record.id,))


def _read(kind: type[RecordT], body: str) -> RecordT:
    values: dict[str, Any] = json.loads(body)
    for item in dataclasses.fields(kind):
        if item.type == "bytes":
            values[item.name] = base64.b64decode(values[item.name])
    return kind(**values)
