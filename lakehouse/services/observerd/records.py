"""Where the operations are kept: the protocol, and the database in the folder of a lake. Only new ones are written."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple, Protocol, TypeVar

import msgspec
import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.row_sources import RecordCount
from lakehouse.services.lake.database import DatabaseReaders, open_database, open_transaction
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.lake.group_commit import GroupCommit, PendingChange
from lakehouse.services.observerd.operations import Operation

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE operations (number INTEGER PRIMARY KEY AUTOINCREMENT, operation BLOB NOT NULL);
PRAGMA user_version = 1;
"""

RING_SIZE = 2_000
"""Operations in memory; a new one takes the place of the oldest."""

T = TypeVar("T")

Batch = Sequence[Operation]
"""The operations of one request: all of them are recorded, or none."""


class Numbered(NamedTuple):
    """An operation with its number, which ascends in the order of the records; the operation is JSON."""

    number: int
    operation: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """The outcome of a batch."""

    error: LakehouseError | None = None


decode_operation = msgspec.json.Decoder(Operation).decode


class OperationReads(Protocol):
    """What can be asked of the operations. All methods block, and raise what the database does."""

    def read_newest(self, count: int, *, after: int = 0) -> Sequence[Numbered]:
        """At most `count` operations that have a higher number, the newest, the oldest of them first."""

    def count_after(self, after: int) -> RecordCount:
        """How many operations have a higher number."""

    def read_after(self, after: int, *, limit: int) -> Sequence[Numbered]:
        """At most `limit` operations that have a higher number, the oldest first."""


class OperationRecords(Protocol):
    """The operations, wherever they are kept. Calls raise what the database does."""

    @property
    def newest(self) -> Sequence[Operation]:
        """The newest operations that are known, at most `RING_SIZE`, the oldest of them first."""

    async def append(self, operations: Batch) -> None:
        """Record operations, all of them or none: durable, and among the newest, at return."""

    async def refresh(self) -> None:
        """Find what other services have recorded."""

    async def read(self, read: Callable[[OperationReads], T]) -> T:
        """Call `read` in a thread."""


class SqliteReads:
    """The queries over a connection. Implements `OperationReads`; the methods raise sqlite3.Error."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def read_newest(self, count: int, *, after: int = 0) -> Sequence[Numbered]:
        """At most `count` operations that have a higher number, the newest, the oldest of them first."""
        query = "SELECT number, operation FROM operations WHERE number > ? ORDER BY number DESC LIMIT ?"
        return [Numbered(*row) for row in reversed(self._db.execute(query, (after, count)).fetchall())]

    def count_after(self, after: int) -> RecordCount:
        """How many operations have a higher number."""
        query = (
            "SELECT (SELECT COUNT(*) FROM operations WHERE number > ?),"
            " (SELECT COALESCE(MAX(number), 0) FROM operations)"
        )
        return RecordCount(*self._db.execute(query, (after,)).fetchone())

    def read_after(self, after: int, *, limit: int) -> Sequence[Numbered]:
        """At most `limit` operations that have a higher number, the oldest first."""
        query = "SELECT number, operation FROM operations WHERE number > ? ORDER BY number LIMIT ?"
        return [Numbered(*row) for row in self._db.execute(query, (after, limit))]


class OperationDatabase:
    """The connection that writes, used by one thread at a time. All functions block."""

    def __init__(self, path: Path) -> None:
        self._db = open_database(path, _SCHEMA, SCHEMA_VERSION)

    def append(self, batches: Sequence[Batch]) -> list[Recorded]:
        """Record operations in one transaction, durable at return. Raises sqlite3.Error."""
        rows = [(msgspec.json.encode(operation),) for batch in batches for operation in batch]
        with open_transaction(self._db):
            self._db.executemany("INSERT INTO operations (operation) VALUES (?)", rows)
        return [Recorded()] * len(batches)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


class LocalRecords:
    """The operations in the folder of a lake, which no other process changes. Implements `OperationRecords`."""

    def __init__(self, database: OperationDatabase, readers: DatabaseReaders, newest: Iterable[Operation]) -> None:
        self.newest = deque(newest, maxlen=RING_SIZE)
        self._readers = readers
        self._commit: GroupCommit[Batch, Recorded] = GroupCommit(database.append, self._remember)

    async def append(self, operations: Batch) -> None:
        """Record operations, in one transaction with others that arrive meanwhile. Raises sqlite3.Error."""
        pending: PendingChange[Batch, Recorded] = PendingChange(operations)
        await self._commit.make(pending)

    async def refresh(self) -> None:
        """No other service records here."""

    async def read(self, read: Callable[[OperationReads], T]) -> T:
        """Call `read` in a thread. Raises sqlite3.Error."""
        return await self._readers.run(lambda db: read(SqliteReads(db)))

    def _remember(self, changes: Sequence[PendingChange[Batch, Recorded]]) -> None:
        for pending in changes:
            self.newest.extend(pending.change)


@asynccontextmanager
async def open_local_records(directory: LakeDirectory) -> AsyncIterator[LocalRecords]:
    """Open the operations in a folder for the length of the block. Raises sqlite3.Error, OSError."""
    database = await trio.to_thread.run_sync(OperationDatabase, directory.observer_db)
    readers = DatabaseReaders(directory.observer_db)
    try:
        rows = await readers.run(lambda db: SqliteReads(db).read_newest(RING_SIZE))
        yield LocalRecords(database, readers, (decode_operation(row.operation) for row in rows))
    finally:
        readers.close()
        database.close()
