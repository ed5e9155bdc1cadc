"""The traces of several services in one database in PostgreSQL."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.process.tasks import open_background
from lakehouse.services.lake.batched_commit import BatchedCommit
from lakehouse.services.pathwayd.changes import Change, Outcome
from lakehouse.services.pathwayd.postgres_database import SCRIPTS, apply_changes, check_warehouse, read_state
from lakehouse.services.pathwayd.postgres_reads import PostgresReads
from lakehouse.services.pathwayd.trace_rows import TraceReads, TracesState
from lakehouse.services.postgres.database import PostgresDatabase

logger = logging.getLogger("lakehouse.pathwayd")

COMPONENT = "pathway"
"""The name of the tables' version."""
LOOK_PERIOD = 30.0
"""Seconds between two looks for the changes of other services, for the index of meanings; a search looks at once."""

T = TypeVar("T")


class PostgresRecords:
    """The traces in a database. Implements `TraceRecords`; made by `open_postgres_records`.

    Calls raise what `PostgresDatabase.run` raises.
    """

    def __init__(
        self, database: PostgresDatabase, *, warehouse: str = "", clock: Callable[[], int] = time.time_ns
    ) -> None:
        """`warehouse` has the objects and tables that traces name; `clock` is in nanoseconds."""
        self._database = database
        self._warehouse = warehouse
        self._is_checked = False
        self._clock = clock
        self._commit: BatchedCommit[Change, Outcome] = BatchedCommit(self._apply)
        self.changed = trio.Event()
        self._state = TracesState("", 0)

    async def find_state(self) -> TracesState:
        """Which traces these are, and the number of the last change of any service."""
        await self._prepare()
        state = await self._database.run(read_state, snapshot=True)
        self._note(state)
        return state

    async def make(self, change: Change) -> Outcome:
        """Make a change, in one transaction with others that arrive meanwhile."""
        return await self._commit.make(change)

    async def read(self, read: Callable[[TraceReads], T]) -> T:
        """Call `read` in a thread, with one state of the traces."""
        await self._prepare()
        return await self._database.run(lambda session: read(PostgresReads(session)), snapshot=True)

    async def run(self) -> None:
        """Make the changes of this service, and look for those of others, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._commit.run)
            has_failed = False
            while True:
                try:
                    await self.find_state()
                    has_failed = False
                except LakehouseError as error:
                    if not has_failed:
                        logger.warning("changes of other services are not looked for: %s", error.message)
                    has_failed = True
                await trio.sleep(LOOK_PERIOD)

    async def _prepare(self) -> None:
        """Make the tables if they are missing, and check that the traces are those of this warehouse, once."""
        await self._database.migrate(COMPONENT, SCRIPTS)
        if not self._is_checked:
            await self._database.run(partial(check_warehouse, warehouse=self._warehouse))
            self._is_checked = True

    async def _apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        await self._prepare()
        outcomes, state = await self._database.run(partial(apply_changes, changes=changes, clock=self._clock))
        self._note(state)
        return outcomes

    def _note(self, state: TracesState) -> None:
        if state.change > self._state.change or state.store != self._state.store:
            self._state = state
            self.changed.set()
            self.changed = trio.Event()


@asynccontextmanager
async def open_postgres_records(database: PostgresDatabase, *, warehouse: str = "") -> AsyncIterator[PostgresRecords]:
    """The traces in a database for the length of the block. No connection is opened before one is needed.

    `warehouse` has the objects and tables that they name: the traces of another one are refused.
    """
    records = PostgresRecords(database, warehouse=warehouse)
    async with open_background() as nursery:
        nursery.start_soon(records.run)
        yield records
