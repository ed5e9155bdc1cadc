"""The records of operations: all of them in SQLite, the newest in memory, from which the statistics are counted."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.services.lake.database import open_database
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.lake.group_commit import GroupCommit, PendingChange
from lakehouse.services.observerd.operations import Operation

RING_SIZE = 2_000
"""Operations in memory; a new one takes the place of the oldest."""
RECENT = 10

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE operations (number INTEGER PRIMARY KEY AUTOINCREMENT, operation BLOB NOT NULL);
PRAGMA user_version = 1;
"""

Batch = Sequence[Operation]
"""The operations of one request: all of them are recorded, or none."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The outcome of a batch."""

    error: LakehouseError | None = None


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """The operations in memory, counted."""

    total: int
    successes: int
    failures: int
    by_source: dict[str, int]
    recent_scenario_ops: list[Operation]


class OperationDatabase:
    """The connection that writes, used by one thread at a time. All functions block."""

    def __init__(self, path: Path) -> None:
        self._db = open_database(path, _SCHEMA, SCHEMA_VERSION)

    def read_newest(self, count: int) -> list[Operation]:
        """The newest operations, the oldest of them first."""
        rows = self._db.execute("SELECT operation FROM operations ORDER BY number DESC LIMIT ?", (count,)).fetchall()
        return [msgspec.json.decode(row[0], type=Operation) for row in reversed(rows)]

    def append(self, batches: Sequence[Batch]) -> list[Recorded]:
        """Record operations in one transaction, durable at return. Raises sqlite3.Error."""
        rows = [(msgspec.json.encode(operation),) for batch in batches for operation in batch]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO operations (operation) VALUES (?)", rows)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return [Recorded()] * len(batches)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


class OperationStore:
    """The records of a lake. Made by `open_operation_store`."""

    def __init__(self, database: OperationDatabase, newest: Sequence[Operation]) -> None:
        self._ring = deque(newest, maxlen=RING_SIZE)
        self._commit: GroupCommit[Batch, Recorded] = GroupCommit(database.append, self._remember)

    @property
    def ring_size(self) -> int:
        """The number of operations in memory."""
        return len(self._ring)

    async def record(self, operations: Batch) -> None:
        """Record operations, all of them or none; durable at return. Raises sqlite3.Error."""
        pending: PendingChange[Batch, Recorded] = PendingChange(operations)
        await self._commit.make(pending)

    def count(self) -> Statistics:
        """Count the operations in memory."""
        successes = sum(operation.success for operation in self._ring)
        scenarios = (operation for operation in reversed(self._ring) if operation.source == "scenario")
        return Statistics(
            total=len(self._ring),
            successes=successes,
            failures=len(self._ring) - successes,
            by_source=dict(Counter(operation.source for operation in self._ring)),
            recent_scenario_ops=list(islice(scenarios, RECENT))[::-1],
        )

    def _remember(self, changes: Sequence[PendingChange[Batch, Recorded]]) -> None:
        for pending in changes:
            self._ring.extend(pending.change)


@asynccontextmanager
async def open_operation_store(directory: LakeDirectory) -> AsyncIterator[OperationStore]:
    """Open the records for the length of the block. Raises sqlite3.Error, OSError."""
    database = await trio.to_thread.run_sync(OperationDatabase, directory.observer_db)
    try:
        yield OperationStore(database, await trio.to_thread.run_sync(database.read_newest, RING_SIZE))
    finally:
        database.close()
