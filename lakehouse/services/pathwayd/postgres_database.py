"""The traces in PostgreSQL, which several services share: the tables, and the changes of one transaction.

A transaction that writes holds the row of `pathway_state` from its beginning, so that one of all services writes at a
time: each sees what the others have committed, and a number of a change is visible only after all lower ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from lakehouse.core.errors import ErrUpstream, LakehouseError
from lakehouse.services.pathwayd.changes import Change, Outcome, apply_change, list_named
from lakehouse.services.pathwayd.postgres_reads import PostgresReads, make_key
from lakehouse.services.pathwayd.trace_rows import NewTrace, Row, TracesState
from lakehouse.services.pathwayd.traces import Retirement, Source
from lakehouse.services.postgres.address import NAME
from lakehouse.services.postgres.session import Session

SCRIPTS = (
    """
    CREATE TABLE pathway_state (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        store text NOT NULL DEFAULT gen_random_uuid()::text, -- tells these traces from those of another database
        number bigint NOT NULL DEFAULT 0,                    -- the last one of a trace
        change bigint NOT NULL DEFAULT 0                     -- the last one
    );
    INSERT INTO pathway_state DEFAULT VALUES;
    CREATE TABLE pathway_traces (
        number bigint PRIMARY KEY,     -- in the order of creation
        uid_key bytea NOT NULL UNIQUE, -- digest of the id
        uid text NOT NULL,
        content bytea NOT NULL,        -- JSON as it was given
        predecessor text,
        predecessor_key bytea,
        created bigint NOT NULL,       -- nanoseconds since 1970
        updated bigint NOT NULL,
        retired boolean NOT NULL DEFAULT false,
        replays bigint NOT NULL DEFAULT 0,
        tags bytea NOT NULL,           -- JSON
        sources bytea NOT NULL,        -- JSON
        retirement bytea,              -- JSON
        change bigint NOT NULL
    );
    CREATE UNIQUE INDEX pathway_traces_by_change ON pathway_traces (change);
    CREATE INDEX pathway_traces_by_time ON pathway_traces (created, number);
    CREATE INDEX pathway_traces_active ON pathway_traces (number) WHERE NOT retired;
    CREATE INDEX pathway_traces_retired ON pathway_traces (number) WHERE retired;
    CREATE TABLE pathway_tags (tag_key bytea, number bigint, PRIMARY KEY (tag_key, number));
    CREATE TABLE pathway_sources (
        source_key bytea, number bigint, kind text NOT NULL, name bytea NOT NULL, PRIMARY KEY (source_key, number)
    );
    """,
    "ALTER TABLE pathway_state ADD COLUMN warehouse text -- that has the objects and tables which traces name",
)
"""The versions of the tables."""

MAX_DEFERRED = 4 * 1024 * 1024
"""Bytes that a transaction writes before they are sent."""
MAX_HELD = "5s"
"""How long PostgreSQL lets a service that stands still hold the row."""


def read_state(session: Session) -> TracesState:
    """The state of the traces."""
    ((store, change),) = session.fetch("SELECT store, change FROM pathway_state")
    return TracesState(store, change)


def check_warehouse(session: Session, warehouse: str) -> None:
    """Record the warehouse of the traces if none is recorded. Raises ErrUpstream if it is another one.

    A service with another warehouse would retire traces whose objects and tables it lacks.
    """
    session.execute("UPDATE pathway_state SET warehouse = %s WHERE warehouse IS NULL", (warehouse,))
    ((found,),) = session.fetch("SELECT warehouse FROM pathway_state")
    if found != warehouse:
        raise ErrUpstream(
            f"the traces of pathwayd.store belong to the warehouse {found}, and lake.warehouse is {warehouse}: if their"
            " warehouse has moved, set pathway_state.warehouse to NULL, which the next service fills in",
            provider=NAME,
        )


def apply_changes(
    session: Session, changes: Sequence[Change], clock: Callable[[], int]
) -> tuple[Sequence[Outcome], TracesState]:
    """Make changes in the transaction of a session. `clock` is in nanoseconds. Raises psycopg2.Error for all.

    A change that is refused has an outcome with an error, and does not stop the others.
    """
    query = "SELECT store, number, change FROM pathway_state FOR UPDATE"
    held = f"SET LOCAL idle_in_transaction_session_timeout = '{MAX_HELD}'; {query}"
    ((store, number, change),) = session.fetch(held)
    writes = PostgresWrites(session, number, change)
    writes.find_rows(list_named(changes))
    outcomes = [apply_change(writes, each, clock()) for each in changes]
    writes.finish()
    return outcomes, TracesState(store, writes.change)


class PostgresWrites(PostgresReads):
    """What a transaction can change. Implements `TraceWrites`; the methods raise psycopg2.Error.

    It reads each trace once, and what it writes is sent with the next query, so that many changes cost one round trip.
    """

    def __init__(self, session: Session, number: int, change: int) -> None:
        """`number` and `change` are the last ones before the transaction."""
        super().__init__(session)
        self.number = number
        self.change = change
        self._found: dict[str, Row | None] = {}
        """The traces that were looked for, as they are after the last change."""
        self._uids: dict[int, str] = {}
        """Their ids, by number."""
        self._deferred: list[str] = []
        self._values: list[object] = []
        self._size = 0
        """Bytes of what was written and not sent."""

    def find_rows(self, uids: Iterable[str]) -> Mapping[str, Row]:
        """The rows of the traces that are there, by id."""
        wanted = set(uids)
        if unknown := wanted - self._found.keys():
            self._found |= dict.fromkeys(unknown)
            for found in super().find_rows(unknown).values():
                self._remember(found)
        return {uid: row for uid in wanted if (row := self._found[uid]) is not None}

    def fetch(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement, behind all that was written."""
        self._deferred.append(statement)
        self._values += values
        return self._session.fetch(*self._take())

    def finish(self) -> None:
        """Send what was written, and the last numbers."""
        query = "UPDATE pathway_state SET number = %s, change = %s RETURNING change"
        self.fetch(query, (self.number, self.change))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A block whose changes are taken back if it refuses one of them."""
        before = self.number, self.change
        self._write("SAVEPOINT change")
        try:
            yield
        except LakehouseError:  # after others the transaction ends
            self._write("ROLLBACK TO SAVEPOINT change; RELEASE SAVEPOINT change")
            self.number, self.change = before
            self._found.clear()
            raise
        self._write("RELEASE SAVEPOINT change")

    def insert(self, new: NewTrace) -> Row:
        """Add a trace, whose id is not there."""
        self.number += 1
        row = new.make_row(self.number, self._next_change())
        self._write(
            "INSERT INTO pathway_traces (number, uid_key, uid, content, predecessor, predecessor_key, created, updated,"
            " tags, sources, change) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            row.number,
            make_key(row.uid),
            row.uid,
            row.content,
            row.predecessor,
            None if row.predecessor is None else make_key(row.predecessor),
            row.created,
            row.updated,
            row.tags,
            row.sources,
            row.change,
        )
        self._insert_tags(row.number, new.tags)
        for key, source in {source.key: source for source in new.sources}.items():
            name = getattr(source, source.kind).encode("utf-8", "surrogatepass")
            values = (make_key(key), row.number, source.kind, name)
            self._write("INSERT INTO pathway_sources VALUES (%s, %s, %s, %s)", *values)
        return self._remember(row)

    def count_replay(self, row: Row, now: int) -> Row:
        """Count a replay of a trace."""
        changed = row._replace(replays=row.replays + 1, updated=now, change=self._next_change())
        query = "UPDATE pathway_traces SET replays = %s, updated = %s, change = %s WHERE number = %s"
        self._write(query, changed.replays, now, changed.change, row.number)
        return self._remember(changed)

    def update(self, row: Row, content: bytes, tags: Sequence[str] | None, now: int) -> Row:
        """Replace the content of a trace, and its tags if some are given."""
        encoded = row.tags if tags is None else msgspec.json.encode(tags)
        changed = row._replace(content=content, tags=encoded, updated=now, change=self._next_change())
        query = "UPDATE pathway_traces SET content = %s, tags = %s, updated = %s, change = %s WHERE number = %s"
        self._write(query, content, encoded, now, changed.change, row.number)
        if tags is not None:
            former = [make_key(tag) for tag in msgspec.json.decode(row.tags, type=list[str])]
            self._write("DELETE FROM pathway_tags WHERE tag_key = ANY(%s::bytea[]) AND number = %s", former, row.number)
            self._insert_tags(row.number, tags)
        return self._remember(changed)

    def list_sources(self, source: Source) -> Sequence[tuple[int, bytes]]:
        """Numbers and sources of the traces, retired or not, that have a source of the key of this one."""
        query = (
            "SELECT number, sources FROM pathway_traces JOIN pathway_sources USING (number) WHERE source_key = %s"
            " ORDER BY number"
        )
        return [(number, bytes(sources)) for number, sources in self.fetch(query, (make_key(source.key),))]

    def mark_retired(self, retirements: Sequence[tuple[int, Retirement]]) -> None:
        """Retire traces, by their numbers."""
        query = "UPDATE pathway_traces SET retired = true, retirement = %s, updated = %s, change = %s WHERE number = %s"
        for number, retirement in retirements:
            encoded, now, change = msgspec.json.encode(retirement), retirement.at_ns, self._next_change()
            self._write(query, encoded, now, change, number)
            if (row := self._found.get(self._uids.get(number, ""))) is not None:
                self._remember(row._replace(retired=1, retirement=encoded, updated=now, change=change))

    def rename_source(self, old: Source, new: Source, traces: Sequence[tuple[int, bytes]]) -> None:
        """Put one source in the place of another; `traces` are numbers, with all sources that they have then."""
        for number, sources in traces:
            query = "UPDATE pathway_traces SET sources = %s, change = %s WHERE number = %s"
            self._write(query, sources, self._next_change(), number)
        self._write(
            "INSERT INTO pathway_sources SELECT %s, number, %s, %s FROM pathway_sources WHERE source_key = %s"
            " ON CONFLICT DO NOTHING",
            make_key(new.key),
            new.kind,
            getattr(new, new.kind).encode("utf-8", "surrogatepass"),
            make_key(old.key),
        )
        self._write("DELETE FROM pathway_sources WHERE source_key = %s", make_key(old.key))
        self._found.clear()

    def _insert_tags(self, number: int, tags: Sequence[str]) -> None:
        if tags:
            keys = list(map(make_key, tags))
            self._write("INSERT INTO pathway_tags SELECT unnest(%s::bytea[]), %s", keys, number)

    def _write(self, statement: str, *values: object) -> None:
        self._deferred.append(statement)
        self._values += values
        self._size += sum(len(value) for value in values if isinstance(value, bytes))
        if self._size > MAX_DEFERRED:
            self._session.execute(*self._take())

    def _take(self) -> tuple[str, Sequence[object]]:
        """What was written and not sent."""
        taken = "; ".join(self._deferred), self._values
        self._deferred, self._values, self._size = [], [], 0
        return taken

    def _remember(self, row: Row) -> Row:
        self._found[row.uid] = row
        self._uids[row.number] = row.uid
        return row

    def _next_change(self) -> int:
        self.change += 1
        return self.change
