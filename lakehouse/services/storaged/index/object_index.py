"""The index of objects: a table in SQLite, and the bytes of small objects beside it. All functions block."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.object_store import ObjectInfo
from lakehouse.services.lake.database import open_database, open_transaction
from lakehouse.services.storaged.index.entries import Entry, Row

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE objects (
    key BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified INTEGER NOT NULL, -- microseconds since 1970
    content_type TEXT NOT NULL,
    content INTEGER,           -- the row of `contents` that has the bytes,
    blob TEXT                  -- or the name of the file
) WITHOUT ROWID;
CREATE INDEX objects_by_blob ON objects (blob) WHERE blob IS NOT NULL;
CREATE TABLE contents (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE state (closed INTEGER NOT NULL);
INSERT INTO state VALUES (1);
PRAGMA user_version = 1;
"""
_ROW = "key, size, etag, modified, content_type"

Precondition = Callable[[ObjectInfo | None], None]
"""Raises a LakehouseError when the present object, or its absence, does not permit a change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Put an object in place of the one that has its key, if there is one. Its `modified` is set by `apply`."""

    entry: Entry
    precondition: Precondition | None = None

    @property
    def key(self) -> bytes:
        """The key of the object."""
        return self.entry.row.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete an object."""

    key: bytes
    precondition: Precondition | None = None


Change = Put | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a change: `entry` is what the key has now, `former` what it had. `error`: nothing was changed."""

    entry: Entry | None = None
    former: Entry | None = None
    error: LakehouseError | None = None


class ObjectIndex:
    """The connection that writes. Made in one thread and used in others, never in two at the same time."""

    def __init__(self, path: Path) -> None:
        """Open the index, which is made if it is missing. Raises sqlite3.Error, OSError."""
        self._leave_open = False
        self._db = open_database(path, _SCHEMA, SCHEMA_VERSION)

    def begin_use(self) -> bool:
        """Mark the index as in use. Returns whether it was closed before: no file can be a leftover then."""
        closed: int = self._db.execute("SELECT closed FROM state").fetchone()[0]
        self._db.execute("UPDATE state SET closed = 0")
        return bool(closed)

    def leave_open(self) -> None:
        """Have the next start look for leftovers."""
        self._leave_open = True

    def close(self) -> None:
        """Mark the index as closed, and close it."""
        try:
            if not self._leave_open:
                self._db.execute("UPDATE state SET closed = 1")
        except sqlite3.Error:
            pass  # on a full disk: the next start sweeps
        finally:
            self._db.close()

    def find_used(self, blobs: Sequence[str]) -> set[str]:
        """The names among `blobs` that objects have."""
        query = "SELECT 1 FROM objects WHERE blob = ?"
        return {name for name in blobs if self._db.execute(query, (name,)).fetchone() is not None}

    def apply(self, changes: Sequence[Change]) -> list[Outcome]:
        """Make changes in one transaction, which is durable when the call returns. Raises sqlite3.Error for all.

        A change whose precondition does not hold has an outcome with an error, and does not stop the others.
        """
        with open_transaction(self._db):
            return [self._apply(change) for change in changes]

    def _apply(self, change: Change) -> Outcome:
        former, content = self._find_former(change.key)
        if change.precondition is not None:
            try:
                change.precondition(None if former is None else former.row.to_info())
            except LakehouseError as error:
                return Outcome(error=error)
        if content is not None:
            self._db.execute("DELETE FROM contents WHERE id = ?", (content,))
        if isinstance(change, Put):
            return Outcome(entry=self._insert(change.entry), former=former)
        self._db.execute("DELETE FROM objects WHERE key = ?", (change.key,))
        return Outcome(former=former)

    def _find_former(self, key: bytes) -> tuple[Entry | None, int | None]:
        found = self._db.execute(f"SELECT {_ROW}, content, blob FROM objects WHERE key = ?", (key,)).fetchone()  # noqa: S608 - constants
        return (None, None) if found is None else (Entry(Row(*found[:5]), None, found[6]), found[5])

    def _insert(self, entry: Entry) -> Entry:
        content = None
        if entry.data is not None:
            content = self._db.execute("INSERT INTO contents (data) VALUES (?)", (entry.data,)).lastrowid
        row = entry.row._replace(modified=time.time_ns() // 1000)
        self._db.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*row, content, entry.blob),
        )
        return entry._replace(row=row)


def find_entry(db: sqlite3.Connection, key: bytes) -> Entry | None:
    """The object of a key with its bytes, if the index has them."""
    query = (
        "SELECT key, size, etag, modified, content_type, data, blob FROM objects "
        "LEFT JOIN contents ON contents.id = objects.content WHERE key = ?"
    )
    found = db.execute(query, (key,)).fetchone()
    return None if found is None else Entry(Row(*found[:5]), *found[5:])


def read_rows(db: sqlite3.Connection, start: bytes, stop: bytes, count: int) -> list[Row]:
    """At most `count` objects whose keys lie from `start` to before `stop`, in the order of keys."""
    query = f"SELECT {_ROW} FROM objects WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"  # noqa: S608 - constants
    return [Row(*found) for found in db.execute(query, (start, stop, count))]
