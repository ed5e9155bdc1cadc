"""The traces in SQLite: the schema, and the changes that one transaction makes. All functions block.

Every row has the number of its last change, in ascending order over all changes, by which the index of meanings finds
what it lacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lakehouse.core.errors import ErrConflict, ErrNotFound, LakehouseError
from lakehouse.services.lake.database import open_database
from lakehouse.services.pathwayd.queries import find_row, make_trace
from lakehouse.services.pathwayd.traces import Retirement, Source, Trace

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Add a trace; with `replay`, one whose id is there counts a replay and keeps its content."""

    uid: str
    content: bytes
    tags: Sequence[str] = ()
    sources: Sequence[Source] = ()
    predecessor: str | None = None
    replay: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Replace the content of a trace, and its tags if some are given."""

    uid: str
    content: bytes
    tags: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Retire a trace by its id, or all traces that are derived from a source, and what is derived from these."""

    uid: str = ""
    source: Source | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Several changes, all of them or none."""

    changes: Sequence[Add | Update | Retire]


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameTable:
    """Name a table by its new name in the sources of traces."""

    name: str
    to: str


Change = Add | Update | Retire | Batch | RenameTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a change: the trace after it, or the ids that were retired; or why nothing was changed."""

    trace: Trace | None = None
    retired: Sequence[str] = ()
    error: LakehouseError | None = None


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
        before = self.change
        self._db.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._apply_alone(change) for change in changes]
            self._db.execute("COMMIT")
        except BaseException:
            self.change = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return outcomes

    def _apply_alone(self, change: Change) -> Outcome:
        self._db.execute("SAVEPOINT change")
        try:
            outcome = self._apply(change)
        except LakehouseError as error:
            self._db.execute("ROLLBACK TO change")
            outcome = Outcome(error=error)
        self._db.execute("RELEASE change")
        return outcome

    def _apply(self, change: Change) -> Outcome:
        if isinstance(change, Add):
            return Outcome(trace=self._add(change))
        if isinstance(change, Update):
            return Outcome(trace=self._update(change))
        if isinstance(change, Retire):
            return Outcome(retired=self._retire(change))
        if isinstance(change, RenameTable):
            self._rename_table(change)
            return Outcome()
        retired: list[str] = []
        for part in change.changes:
            retired += self._apply(part).retired
        return Outcome(retired=retired)

    def _add(self, add: Add) -> Trace:
        present = find_row(self._db, add.uid)
        if present is not None:
            if not add.replay:
                raise ErrConflict(f"there is a trace {add.uid!r} already", field="uid")
            self._db.execute(
                "UPDATE traces SET replays = replays + 1, updated = ?, change = ? WHERE uid = ?",
                (self._clock(), self._next_change(), add.uid),
            )
            return self._read(add.uid)
        self._check_references(add)
        now = self._clock()
        number = self._db.execute(
            "INSERT INTO traces (uid, content, predecessor, created, updated, tags, sources, change)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                add.uid,
                add.content,
                add.predecessor,
                now,
                now,
                msgspec.json.encode(add.tags),
                msgspec.json.encode(add.sources),
                self._next_change(),
            ),
        ).lastrowid
        self._db.executemany("INSERT INTO trace_tags VALUES (?, ?)", [(tag, number) for tag in add.tags])
        keys = {source.key for source in add.sources}
        self._db.executemany("INSERT INTO trace_sources VALUES (?, ?)", [(key, number) for key in sorted(keys)])
        return self._read(add.uid)

    def _check_references(self, add: Add) -> None:
        """A trace names traces that are there. A new trace has no successor, so no chain can become a circle."""
        if add.predecessor is not None and find_row(self._db, add.predecessor) is None:
            raise ErrNotFound(f"there is no trace {add.predecessor!r}", field="predecessor_uid")
        for number, source in enumerate(add.sources):
            if not source.trace:
                continue
            field, row = f"sources[{number}].trace", find_row(self._db, source.trace)
            if row is None:
                raise ErrNotFound(f"`{field}`: there is no trace {source.trace!r}", field=field)
            if row.retired:
                message = f"`{field}`: the trace {source.trace!r} is retired, so nothing can be derived from it"
                raise ErrConflict(message, field=field)

    def _update(self, update: Update) -> Trace:
        row = find_row(self._db, update.uid)
        if row is None:
            raise ErrNotFound(f"there is no trace {update.uid!r}", field="uid")
        self._db.execute(
            "UPDATE traces SET content = ?, updated = ?, change = ? WHERE number = ?",
            (update.content, self._clock(), self._next_change(), row.number),
        )
        if update.tags is not None:
            self._db.execute("DELETE FROM trace_tags WHERE number = ?", (row.number,))
            self._db.executemany("INSERT INTO trace_tags VALUES (?, ?)", [(tag, row.number) for tag in update.tags])
            encoded = msgspec.json.encode(update.tags)
            self._db.execute("UPDATE traces SET tags = ? WHERE number = ?", (encoded, row.number))
        return self._read(update.uid)

    def _retire(self, retire: Retire) -> list[str]:
        """Retire breadth first, so that each trace has the nearest of its sources as the cause."""
        now, retired = self._clock(), list[str]()
        causes: list[Source] = []
        if retire.source is not None:
            causes.append(retire.source)
        else:
            row = find_row(self._db, retire.uid)
            if row is None:
                raise ErrNotFound(f"there is no trace {retire.uid!r}", field="uid")
            if not row.retired:
                self._mark_retired(row.number, Retirement(at_ns=now, reason=retire.reason))
                retired.append(retire.uid)
            causes.append(Source(trace=retire.uid))
        for cause in causes:
            for number, uid in self._find_derived(cause):
                self._mark_retired(number, Retirement(at_ns=now, reason=retire.reason, source=cause))
                retired.append(uid)
                causes.append(Source(trace=uid))
        return retired

    def _rename_table(self, rename: RenameTable) -> None:
        old, new = Source(table=rename.name).key, Source(table=rename.to).key
        query = "SELECT number, sources FROM traces JOIN trace_sources USING (number) WHERE source = ?"
        for number, encoded in self._db.execute(query, (old,)).fetchall():
            sources = [
                msgspec.structs.replace(source, table=rename.to) if source.table == rename.name else source
                for source in msgspec.json.decode(encoded, type=list[Source])
            ]
            values = (msgspec.json.encode(sources), self._next_change(), number)
            self._db.execute("UPDATE traces SET sources = ?, change = ? WHERE number = ?", values)
        self._db.execute("UPDATE OR IGNORE trace_sources SET source = ? WHERE source = ?", (new, old))
        self._db.execute("DELETE FROM trace_sources WHERE source = ?", (old,))

    def _find_derived(self, source: Source) -> list[tuple[int, str]]:
        query = (
            "SELECT traces.number, uid FROM trace_sources JOIN traces USING (number)"
            " WHERE source = ? AND NOT retired ORDER BY traces.number"
        )
        return self._db.execute(query, (source.key,)).fetchall()

    def _mark_retired(self, number: int, retirement: Retirement) -> None:
        self._db.execute(
            "UPDATE traces SET retired = 1, retirement = ?, updated = ?, change = ? WHERE number = ?",
            (msgspec.json.encode(retirement), retirement.at_ns, self._next_change(), number),
        )

    def _read(self, uid: str) -> Trace:
        row = find_row(self._db, uid)
        assert row is not None  # noqa: S101 - it was written in this transaction
        return make_trace(row)

    def _next_change(self) -> int:
        self.change += 1
        return self.change
