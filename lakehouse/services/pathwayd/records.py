"""Where the traces are kept: the protocol, and the database in the folder of a lake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import trio

from lakehouse.services.lake.database import DatabaseReaders
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.lake.group_commit import GroupCommit, PendingChange
from lakehouse.services.pathwayd.changes import Change, Outcome
from lakehouse.services.pathwayd.sqlite_database import TraceDatabase
from lakehouse.services.pathwayd.sqlite_reads import SqliteReads
from lakehouse.services.pathwayd.trace_rows import TraceReads, TracesState

T = TypeVar("T")


class TraceRecords(Protocol):
    """The traces, wherever they are kept. Calls raise what the database does."""

    @property
    def changed(self) -> trio.Event:
        """Set, and replaced, when traces have changed."""

    async def find_state(self) -> TracesState:
        """Which traces these are, and the number of the last change that is durable."""

    async def make(self, change: Change) -> Outcome:
        """Make a change: durable at return. Raises the error of its outcome."""

    async def read(self, read: Callable[[TraceReads], T]) -> T:
        """Call `read` in a thread, with what can be asked of the traces."""


class LocalRecords:
    """The traces in the folder of a lake, which no other process changes. Implements `TraceRecords`."""

    def __init__(self, database: TraceDatabase, readers: DatabaseReaders) -> None:
        self._database = database
        self._readers = readers
        self._commit: GroupCommit[Change, Outcome] = GroupCommit(database.apply, self._wake)
        self.changed = trio.Event()
        self._change = database.change

    async def find_state(self) -> TracesState:
        """The number of the last change."""
        return TracesState("", self._change)

    async def make(self, change: Change) -> Outcome:
        """Make a change, in one transaction with others that arrive meanwhile. Raises sqlite3.Error."""
        pending: PendingChange[Change, Outcome] = PendingChange(change)
        return await self._commit.make(pending)

    async def read(self, read: Callable[[TraceReads], T]) -> T:
        """Call `read` in a thread. Raises sqlite3.Error."""
        return await self._readers.run(lambda db: read(SqliteReads(db)))

    def _wake(self, _batch: object) -> None:
        self._change = self._database.change
        self.changed.set()
        self.changed = trio.Event()


@asynccontextmanager
async def open_local_records(directory: LakeDirectory) -> AsyncIterator[LocalRecords]:
    """Open the traces in a folder for the length of the block. Raises sqlite3.Error, OSError."""
    database = await trio.to_thread.run_sync(TraceDatabase, directory.pathway_db)
    readers = DatabaseReaders(directory.pathway_db)
    try:
        yield LocalRecords(database, readers)
    finally:
        readers.close()
        database.close()
