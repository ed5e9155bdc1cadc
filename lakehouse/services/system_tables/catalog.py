"""All tables that SQL can read: those of users, and the system tables, whose names begin with `lakehouse/`."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from math import inf

import trio

from lakehouse.config import Config
from lakehouse.core.errors import ErrNotFound, LakehouseError
from lakehouse.process.tasks import open_background
from lakehouse.services.contracts.catalog import SYSTEM_SCHEMA, Column, Manifest, is_system_table
from lakehouse.services.contracts.row_sources import RowSource
from lakehouse.services.contracts.tables import TablePlan, Tables
from lakehouse.services.contracts.write_engine import WriteEngine
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.system_tables.database import SystemDatabase
from lakehouse.services.system_tables.definitions import list_tables
from lakehouse.services.system_tables.maintenance import Maintenance, Retention
from lakehouse.services.system_tables.store import MAX_UNSEALED, SystemStore

logger = logging.getLogger("lakehouse.system_tables")

_PREFIX = f"{SYSTEM_SCHEMA}/"

FIRST_BATCHES = 1.25
"""Seconds in which the workers have sent the rows that they had before the services process started."""


class SystemTables:
    """The system tables, as `open_system_tables` opens them."""

    def __init__(self, store: SystemStore, maintenance: Maintenance) -> None:
        self.store = store
        self.maintenance = maintenance
        self._complete_at = -inf

    def expect_batches(self) -> None:
        """Let the first read wait for the workers, which begin to send within a second."""
        self._complete_at = trio.current_time() + FIRST_BATCHES

    @asynccontextmanager
    async def freeze(self, names: Collection[str]) -> AsyncIterator[None]:
        """Append no rows in the block, so that plans which are made in it agree with each other.

        Rows of the tables with the full `names` become segments before, if they are too many to be read as lines.
        """
        await trio.sleep_until(max(self._complete_at, trio.current_time()))
        named = (table for table in self.store.tables.values() if table.full_name in names)
        for table in set(map(self.store.find_stored, named)):
            try:
                await self.maintenance.seal(table, above=MAX_UNSEALED)
            except (LakehouseError, sqlite3.Error, OSError) as error:  # the rows are read as lines
                logger.warning("no segment of %s could be written: %s", table.full_name, error)
        async with self.store.appending:
            yield

    async def plan(self, name: str) -> TablePlan:
        """Plan a read of the table with a full name. Raises ErrNotFound."""
        return await self.store.plan(name.removeprefix(_PREFIX))

    async def find(self, name: str) -> Manifest | None:
        """The table with a full name."""
        short = name.removeprefix(_PREFIX)
        return await self.store.describe(short) if short in self.store.tables else None

    def list_columns(self) -> Mapping[str, Sequence[Column]]:
        """The columns of all tables, in the order of their names."""
        tables = self.store.tables
        return {tables[name].full_name: tables[name].columns for name in sorted(tables)}

    async def list(self) -> Sequence[Manifest]:
        """The tables in the order of their names."""
        return [await self.store.describe(name) for name in sorted(self.store.tables)]

    def hold_files(self) -> AbstractContextManager[None]:
        """Keep the files of plans that are made in the block until its end."""
        return self.store.leases.hold()


class SqlTables:
    """The tables of users and the system tables for the query engine. Implements `ReadableTables`."""

    def __init__(self, tables: Tables, system: SystemTables) -> None:
        self._tables = tables
        self._system = system

    async def plan(self, name: str, *, snapshot_id: str | None = None) -> TablePlan:
        """Plan the read of a table (`Tables.plan`). A system table has no former snapshots: ErrNotFound."""
        if not is_system_table(name):
            return await self._tables.plan(name, snapshot_id=snapshot_id)
        if snapshot_id is not None:
            raise ErrNotFound(f"{name!r} is a system table, which keeps no former snapshots")
        return await self._system.plan(name)

    async def find(self, name: str, *, snapshot_id: str | None = None) -> Manifest | None:
        """Return a table, or None (`Tables.find`)."""
        if is_system_table(name):
            return await self._system.find(name)
        return await self._tables.find(name, snapshot_id=snapshot_id)

    async def list(self) -> Sequence[Manifest]:
        """List all tables in the order of their names."""
        found = [*await self._tables.list(), *await self._system.list()]
        return sorted(found, key=lambda manifest: manifest.name)


@asynccontextmanager
async def open_system_tables(
    directory: LakeDirectory, engine: WriteEngine, config: Config, sources: Mapping[str, RowSource]
) -> AsyncIterator[SystemTables]:
    """Open the system tables for the length of the block. Raises sqlite3.Error, OSError.

    `sources` are the services with records that are rows of tables, by name.
    """
    table = config.observe.system_tables
    database = await trio.to_thread.run_sync(SystemDatabase, directory.system_db, directory.system)
    tables = {each.name: each for each in list_tables(contents=table.contents)}
    store = SystemStore(directory, database, tables, sources)
    retention = Retention(seconds=table.retention, contents=table.contents_retention, max_rows=table.max_rows)
    maintenance = Maintenance(store, engine, retention)
    try:
        await trio.to_thread.run_sync(store.clean_up)
        async with open_background() as nursery:
            nursery.start_soon(maintenance.run)
            yield SystemTables(store, maintenance)
    finally:
        store.close()
