"""The operations of several services in one database in PostgreSQL.

A transaction that writes holds the row of `observer_state`, so that the numbers ascend in the order of the commits: who
has read up to a number has read all lower ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import msgspec

from lakehouse.process.tasks import open_background
from lakehouse.services.contracts.row_sources import RecordCount
from lakehouse.services.lake.batched_commit import BatchedCommit
from lakehouse.services.observerd.operations import Operation
from lakehouse.services.observerd.records import (
    RING_SIZE,
    Batch,
    Numbered,
    OperationReads,
    Recorded,
    decode_operation,
)
from lakehouse.services.postgres.database import PostgresDatabase
from lakehouse.services.postgres.session import Session

COMPONENT = "observer"
"""The name of the tables' version."""
SCRIPTS = (
    """
    CREATE TABLE observer_state (
        single boolean PRIMARY KEY DEFAULT true CHECK (single),
        store text NOT NULL DEFAULT gen_random_uuid()::text, -- tells these operations from those of another database
        number bigint NOT NULL DEFAULT 0                     -- the last one
    );
    INSERT INTO observer_state DEFAULT VALUES;
    CREATE TABLE observer_operations (number bigint PRIMARY KEY, operation bytea NOT NULL);
    """,
)
"""The versions of the tables."""
MAX_HELD = "5s"
"""How long PostgreSQL lets a service that stands still hold the row."""
AT_ONCE = 1_000
"""Operations in one statement."""

T = TypeVar("T")


class PostgresReads:
    """The queries in a transaction. Implements `OperationReads`; the methods raise psycopg2.Error."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read_newest(self, count: int, *, after: int = 0) -> Sequence[Numbered]:
        """At most `count` operations that have a higher number, the newest, the oldest of them first."""
        query = "SELECT number, operation FROM observer_operations WHERE number > %s ORDER BY number DESC LIMIT %s"
        return self._fetch(query, after, count)[::-1]

    def count_after(self, after: int) -> RecordCount:
        """How many operations have a higher number."""
        query = "SELECT (SELECT count(*) FROM observer_operations WHERE number > %s), number, store FROM observer_state"
        (found,) = self._session.fetch(query, (after,))
        return RecordCount(*found)

    def read_after(self, after: int, *, limit: int) -> Sequence[Numbered]:
        """At most `limit` operations that have a higher number, the oldest first."""
        query = "SELECT number, operation FROM observer_operations WHERE number > %s ORDER BY number LIMIT %s"
        return self._fetch(query, after, limit)

    def _fetch(self, query: str, *values: object) -> list[Numbered]:
        return [Numbered(number, bytes(operation)) for number, operation in self._session.fetch(query, values)]


def append_operations(session: Session, operations: Sequence[bytes], known: int) -> tuple[Sequence[Numbered], int]:
    """Record operations, and read the newest of those that other services have recorded after a number.

    Returns these, and the number of the last one before the new ones.
    """
    query = "SELECT number FROM observer_state FOR UPDATE"
    held = f"SET LOCAL idle_in_transaction_session_timeout = '{MAX_HELD}'; {query}"
    ((last,),) = session.fetch(held)
    others = PostgresReads(session).read_newest(RING_SIZE, after=known) if last > known else ()
    for start in range(0, len(operations), AT_ONCE):
        session.execute(
            "INSERT INTO observer_operations SELECT %s + ordinality, operation"
            " FROM unnest(%s::bytea[]) WITH ORDINALITY AS added (operation, ordinality)",
            (last + start, list(operations[start : start + AT_ONCE])),
        )
    session.execute("UPDATE observer_state SET number = %s", (last + len(operations),))
    return others, last


class PostgresRecords:
    """The operations in a database. Implements `OperationRecords`; made by `open_postgres_records`.

    Calls raise what `PostgresDatabase.run` raises.
    """

    def __init__(self, database: PostgresDatabase) -> None:
        self.newest: deque[Operation] = deque(maxlen=RING_SIZE)
        self._last = 0
        """The number of the last operation among the newest."""
        self._database = database
        self._commit: BatchedCommit[Batch, Recorded] = BatchedCommit(self._apply)

    async def append(self, operations: Batch) -> None:
        """Record operations, in one transaction with others that arrive meanwhile."""
        await self._commit.make(operations)

    async def refresh(self) -> None:
        """Find what other services have recorded."""
        known = self._last
        self._remember(await self.read(lambda reads: reads.read_newest(RING_SIZE, after=known)))

    async def read(self, read: Callable[[OperationReads], T]) -> T:
        """Call `read` in a thread, with one state of the operations."""
        await self._database.migrate(COMPONENT, SCRIPTS)
        return await self._database.run(lambda session: read(PostgresReads(session)), snapshot=True)

    async def run(self) -> None:
        """Record what arrives, until cancelled."""
        await self._commit.run()

    async def _apply(self, batches: Sequence[Batch]) -> Sequence[Recorded]:
        added = [msgspec.json.encode(operation) for batch in batches for operation in batch]
        await self._database.migrate(COMPONENT, SCRIPTS)
        known = self._last
        others, last = await self._database.run(partial(append_operations, operations=added, known=known))
        if last < known:  # another database has come in the place of this one
            self.newest.clear()
            self._last = 0
        self._remember(others)
        self._remember([Numbered(number, operation) for number, operation in enumerate(added, last + 1)])
        return [Recorded()] * len(batches)

    def _remember(self, found: Sequence[Numbered]) -> None:
        """Take in operations without a gap before them; some may be known by another call that ended earlier."""
        new = [each for each in found if each.number > self._last]
        if new:
            self.newest.extend(decode_operation(each.operation) for each in new)
            self._last = new[-1].number


@asynccontextmanager
async def open_postgres_records(database: PostgresDatabase) -> AsyncIterator[PostgresRecords]:
    """The operations in a database for the length of the block. No connection is opened before one is needed."""
    records = PostgresRecords(database)
    async with open_background() as nursery:
        nursery.start_soon(records.run)
        yield records
