"""What apps share by name: the entries of Dicts and the items of Queues. Part of the state's file.

Keys and values are bytes that the client made. An entry that was not used for 7 days is gone, and so is a Queue's
partition after its time, 24 hours by default, as on Modal (https://modal.com/docs/guide/dicts, /queues).
"""

from __future__ import annotations

import time
from typing import Final

from trimtab.emulation.modal.database import Database

ENTRY_KEEP_S: Final = 7 * 24 * 3600
MAX_ITEMS: Final = 5000
"""Items of one partition of a Queue."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    dict_id TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, used_at REAL NOT NULL, PRIMARY KEY (dict_id, key));
CREATE TABLE IF NOT EXISTS item (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, queue_id TEXT NOT NULL, partition BLOB NOT NULL, value BLOB NOT NULL,
    expires_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS item_by_queue ON item (queue_id, partition, seq);
"""


class Shared:
    """The tables of entries and items."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # Dicts

    def put_entries(self, dict_id: str, entries: list[tuple[bytes, bytes]], *, only_new: bool) -> int:
        """Write entries, or only those whose key is new; return how many were written."""
        with self._db.transaction():
            self._drop_entries()
            how = "OR IGNORE" if only_new else "OR REPLACE"
            cursor = self._db.executemany(
                f"INSERT {how} INTO entry VALUES (?, ?, ?, ?)",  # noqa: S608 - one of two words of ours
                [(dict_id, key, value, time.time()) for key, value in entries],
            )
        return cursor.rowcount

    def entry(self, dict_id: str, key: bytes) -> bytes | None:
        """Return a value, which counts as just used."""
        self._drop_entries()
        row = self._db.execute(
            "UPDATE entry SET used_at = ? WHERE dict_id = ? AND key = ? RETURNING value", (time.time(), dict_id, key)
        ).fetchall()
        return row[0][0] if row else None

    def pop_entry(self, dict_id: str, key: bytes) -> bytes | None:
        """Remove an entry, and return its value."""
        self._drop_entries()
        row = self._db.execute(
            "DELETE FROM entry WHERE dict_id = ? AND key = ? RETURNING value", (dict_id, key)
        ).fetchall()
        return row[0][0] if row else None

    def entries(self, dict_id: str) -> list[tuple[bytes, bytes]]:
        """Return every key and value."""
        self._drop_entries()
        return self._db.execute("SELECT key, value FROM entry WHERE dict_id = ? ORDER BY rowid", (dict_id,)).fetchall()

    def count_entries(self, dict_id: str) -> int:
        """Count the entries."""
        self._drop_entries()
        return int(self._db.execute("SELECT count(*) FROM entry WHERE dict_id = ?", (dict_id,)).fetchone()[0])

    def _drop_entries(self) -> None:
        self._db.execute("DELETE FROM entry WHERE used_at < ?", (time.time() - ENTRY_KEEP_S,))

    # Queues

    def put_items(self, queue_id: str, partition: bytes, values: list[bytes], *, keep_s: float) -> bool:
        """Add items to the end, and let the whole partition live so long from now on; return False when it is full."""
        expires_at = time.time() + keep_s
        with self._db.transaction():
            if self.count_items(queue_id, partition) + len(values) > MAX_ITEMS:
                return False
            self._db.executemany(
                "INSERT INTO item (queue_id, partition, value, expires_at) VALUES (?, ?, ?, ?)",
                [(queue_id, partition, value, expires_at) for value in values],
            )
            self._db.execute(
                "UPDATE item SET expires_at = ? WHERE queue_id = ? AND partition = ?", (expires_at, queue_id, partition)
            )
        return True

    def take_items(self, queue_id: str, partition: bytes, *, most: int) -> list[bytes]:
        """Remove the first items, and return them."""
        with self._db.transaction():
            found = self.items(queue_id, partition, after=0, most=most)
            if found:
                self._db.execute(
                    "DELETE FROM item WHERE queue_id = ? AND partition = ? AND seq <= ?",
                    (queue_id, partition, found[-1][0]),
                )
        return [value for _, value in found]

    def items(self, queue_id: str, partition: bytes, *, after: int, most: int) -> list[tuple[int, bytes]]:
        """Return items with their numbers, which only grow."""
        self._drop_items()
        return self._db.execute(
            "SELECT seq, value FROM item WHERE queue_id = ? AND partition = ? AND seq > ? ORDER BY seq LIMIT ?",
            (queue_id, partition, after, most),
        ).fetchall()

    def count_items(self, queue_id: str, partition: bytes | None) -> int:
        """Count the items of a partition, or of all."""
        self._drop_items()
        row = self._db.execute(
            "SELECT count(*) FROM item WHERE queue_id = ? AND (? IS NULL OR partition = ?)",
            (queue_id, partition, partition),
        )
        return int(row.fetchone()[0])

    def count_partitions(self, queue_id: str) -> int:
        """Count the partitions that hold something."""
        row = self._db.execute("SELECT count(DISTINCT partition) FROM item WHERE queue_id = ?", (queue_id,))
        return int(row.fetchone()[0])

    def _drop_items(self) -> None:
        self._db.execute("DELETE FROM item WHERE expires_at < ?", (time.time(),))

    # Both

    def clear(self, record_id: str, partition: bytes | None = None) -> None:
        """Remove all entries of a Dict, or all items of a Queue, or of one of its partitions."""
        self._db.execute("DELETE FROM entry WHERE dict_id = ?", (record_id,))
        self._db.execute(
            "DELETE FROM item WHERE queue_id = ? AND (? IS NULL OR partition = ?)", (record_id, partition, partition)
        )
