"""The traces in SQLite: the schema, and the connection that writes. All functions block.

Every row has the number of its last change, in ascending order over all changes, by which the index of meanings finds
what it lacks.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lakehouse.core.errors import LakehouseError
from lakehouse.services.lake.database import open_database, open_transaction
from lakehouse.services.pathwayd.changes import Change, Outcome, apply_change
from lakehouse.services.pathwayd.sqlite_reads import SqliteReads
from lakehouse.services.pathwayd.trace_rows import NewTrace, Row
from lakehouse.services.pathwayd.traces import Retirement, Source

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE traces (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of creation
    uid TEXT NOT NULL UNIQUE,
    content BLOB NOT NULL,                    -- JSON as it was given
    predecessor TEXT,
    created INTEGER NOT NULL,                 -- nanoseconds since 1970
    updated INTEGER NOT NULL,
    retired INTEGER NOT NULL DEFAULT 0,
    replays INTEGER NOT NULL DEFAULT 0,
    tags BLOB NOT NULL,                       -- JSON
    sources BLOB NOT NULL,                    -- JSON
    retirement BLOB,                          -- JSON
    change INTEGER NOT NULL
);
CREATE UNIQUE INDEX traces_by_change ON traces (change);
CREATE INDEX traces_by_state ON traces (retired, number);
CREATE INDEX traces_by_time ON traces (created);
CREATE TABLE trace_tags (tag TEXT, number INTEGER, PRIMARY KEY (tag, number)) WITHOUT ROWID;
CREATE TABLE trace_sources (source TEXT, number INTEGER, PRIMARY KEY (source, number)) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


class TraceDatabase:
    """The connection that writes. Made in one thread and used in others, never in two at the same time."""

    def __init__(self, path: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        """Open the database, or make it. `clock` is in nanoseconds. Raises sqlite3.Error, OSError."""
        self._db = open_database(path, _SCHEMA, SCHEMA_VERSION)
        self._clock = clock
        self.change: int = self._db.execute("SELECT COALESCE(MAX(change), 0) FROM traces").fetchone()[0]
        """The number of the last change."""

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def apply(self, changes: Sequence[Change]) -> list[Outcome]:
        """Make changes in one transaction, which is durable when the call returns. Raises sqlite3.Error for all.

        A change that is refused has an outcome with an error, and does not stop the others.
        """
        with open_transaction(self._db):
            writes = SqliteWrites(self._db, self.change)
            outcomes = [apply_change(writes, change, self._clock()) for change in changes]
        self.change = writes.change
        return outcomes


class SqliteWrites(SqliteReads):
    """What a transaction can change. Implements `TraceWrites`; the methods raise sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection, change: int) -> None:
        """`change` is the number of the last change before the transaction."""
        super().__init__(db)
        self.change = change

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A block whose changes are taken back if it refuses one of them."""
        self.db.execute("SAVEPOINT change")
        try:
            yield
        except LakehouseError:  # after others the transaction ends
            self.db.execute("ROLLBACK TO change")
            self.db.execute("RELEASE change")
            raise
        self.db.execute("RELEASE change")

    def insert(self, new: NewTrace) -> Row:
        """Add a trace, whose id is not there."""
        row = new.make_row(0, self._next_change())
        number = self.db.execute(
            "INSERT INTO traces (uid, content, predecessor, created, updated, tags, sources, change)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (row.uid, row.content, row.predecessor, row.created, row.updated, row.tags, row.sources, row.change),
        ).lastrowid
        assert number is not None  # noqa: S101 - a row was inserted
        self._insert_tags(number, new.tags)
        keys = sorted({source.key for source in new.sources})
        self.db.executemany("INSERT INTO trace_sources VALUES (?, ?)", [(key, number) for key in keys])
        return row._replace(number=number)

    def count_replay(self, row: Row, now: int) -> Row:
        """Count a replay of a trace."""
        changed = row._replace(replays=row.replays + 1, updated=now, change=self._next_change())
        values = (changed.replays, now, changed.change, row.number)
        self.db.execute("UPDATE traces SET replays = ?, updated = ?, change = ? WHERE number = ?", values)
        return changed

    def update(self, row: Row, content: bytes, tags: Sequence[str] | None, now: int) -> Row:
        """Replace the content of a trace, and its tags if some are given."""
        encoded = row.tags if tags is None else msgspec.json.encode(tags)
        changed = row._replace(content=content, tags=encoded, updated=now, change=self._next_change())
        self.db.execute(
            "UPDATE traces SET content = ?, tags = ?, updated = ?, change = ? WHERE number = ?",
            (content, encoded, now, changed.change, row.number),
        )
        if tags is not None:
            former = msgspec.json.decode(row.tags, type=list[str])
            self.db.executemany(
                "DELETE FROM trace_tags WHERE tag = ? AND number = ?", [(tag, row.number) for tag in former]
            )
            self._insert_tags(row.number, tags)
        return changed

    def list_sources(self, source: Source) -> Sequence[tuple[int, bytes]]:
        """Numbers and sources of the traces, retired or not, that have a source of the key of this one."""
        query = "SELECT number, sources FROM traces JOIN trace_sources USING (number) WHERE source = ? ORDER BY number"
        return self.db.execute(query, (source.key,)).fetchall()

    def mark_retired(self, retirements: Sequence[tuple[int, Retirement]]) -> None:
        """Retire traces, by their numbers."""
        for number, retirement in retirements:
            self.db.execute(
                "UPDATE traces SET retired = 1, retirement = ?, updated = ?, change = ? WHERE number = ?",
                (msgspec.json.encode(retirement), retirement.at_ns, self._next_change(), number),
            )

    def rename_source(self, old: Source, new: Source, traces: Sequence[tuple[int, bytes]]) -> None:
        """Put one source in the place of another; `traces` are numbers, with all sources that they have then."""
        for number, sources in traces:
            values = (sources, self._next_change(), number)
            self.db.execute("UPDATE traces SET sources = ?, change = ? WHERE number = ?", values)
        self.db.execute("UPDATE OR IGNORE trace_sources SET source = ? WHERE source = ?", (new.key, old.key))
        self.db.execute("DELETE FROM trace_sources WHERE source = ?", (old.key,))

    def _insert_tags(self, number: int, tags: Sequence[str]) -> None:
        self.db.executemany("INSERT INTO trace_tags VALUES (?, ?)", [(tag, number) for tag in tags])

    def _next_change(self) -> int:
        self.change += 1
        return self.change
