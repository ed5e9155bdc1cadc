"""The upkeep of the system tables: rows become segments, small segments are merged, old rows are deleted.

The write engine writes a segment from files of lines or from other segments, and one transaction puts it in their
place. A process that is killed before leaves a file that the next start deletes.

Deletion is real: a segment with an old row is written again without it, and lines with an old row become a segment
before. The database has no rows.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.tables import DataFile, StagedFile, TablePlan, WritePlan
from lakehouse.services.contracts.write_engine import WriteEngine
from lakehouse.services.lake.durability import sync_directory
from lakehouse.services.system_tables.database import SystemDatabase, TableFile
from lakehouse.services.system_tables.definitions import CONTENTS, SystemTable
from lakehouse.services.system_tables.store import (
    MAX_SEALED,
    MAX_UNSEALED,
    SystemStore,
    TableStatus,
    describe_file,
    make_field_ids,
)

logger = logging.getLogger("lakehouse.system_tables")

PERIOD = 3600.0
"""Seconds between two expiries."""
MAX_SMALL = 16
"""Segments of a table with less than `MAX_SEALED` rows; more are merged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long rows are kept, in seconds, and how many of each table. `contents` is that of messages and answers."""

    seconds: float
    contents: float
    max_rows: int


class Maintenance:
    """Changes the segments of the tables, one table at a time."""

    def __init__(self, store: SystemStore, engine: WriteEngine, retention: Retention) -> None:
        self._store = store
        self._engine = engine
        self._retention = retention
        self._lock = trio.Lock()

    async def run(self) -> None:
        """Keep the tables in order until cancelled. A failure is logged, and the next turn tries again."""
        while True:
            try:
                await self.expire(datetime.now(UTC).timestamp())
                with trio.move_on_after(PERIOD):
                    while True:
                        await self._store.appended.wait()
                        self._store.appended = trio.Event()
                        for table in self.list_stored():
                            await self.seal(table, above=MAX_SEALED)
            except (LakehouseError, sqlite3.Error, OSError) as error:
                logger.warning("the upkeep of the system tables failed: %s", error)
                await trio.sleep(PERIOD / 60)

    async def seal(self, table: SystemTable, *, above: int) -> None:
        """Write segments until at most so many rows are in none. Raises LakehouseError, sqlite3.Error, OSError."""
        async with self._lock:
            status = await self._store.read_status(table)
            if not status.needs_segment(above=above):
                return
            status = await self._discard_versions(table, status)
            while status.needs_segment(above=above):
                status = await self._write_segment(table, status)
            await self._merge(table, status.segments)

    async def _write_segment(self, table: SystemTable, status: TableStatus) -> TableStatus:
        """Put the oldest rows that are in no segment into one. Returns the status with it."""
        with self._store.leases.hold():  # a query may replace the file of a service's records
            unsealed = await self._store.take_unsealed(table, status, limit=MAX_SEALED)
            _, segments = await self._write(table, unsealed.files)
        new = _describe(segments, unsealed.first, unsealed.last, unsealed.mark)
        async with self._store.lock:
            await self._store.run(partial(SystemDatabase.add_segments, segments=new))
        self._store.discard(table, unsealed)
        return await self._store.read_status(table)

    async def expire(self, now: float) -> None:
        """Delete the rows that are older than their retention, and the oldest of too many. Raises as `seal`."""
        for table in self.list_stored():
            if table.source == "traffic":
                async with self._lock:
                    seconds = self._retention.contents if table is CONTENTS else self._retention.seconds
                    await self._expire_table(table, now - seconds)

    async def _expire_table(self, table: SystemTable, before: float) -> None:
        async with self._store.lock:
            expired = await self._store.run(lambda database: database.expire_unsealed(table.name, before))
        for file in expired:
            self._store.leases.discard(file.path)
        status = await self._store.read_status(table)
        while status.first < before:  # the other rows of their files go on in a segment
            status = await self._write_segment(table, status)
        surplus = status.rows - self._retention.max_rows
        removed: list[TableFile] = []
        added: list[TableFile] = []
        for segment in sorted(status.segments, key=lambda each: each.first):
            if segment.last < before or surplus > 0:
                removed.append(segment)
                surplus -= segment.rows
            elif segment.first < before:
                limit = datetime.fromtimestamp(before, UTC).isoformat()
                where = f"time < CAST('{limit}' AS TIMESTAMP WITH TIME ZONE)"
                replaced, rewritten = await self._write(table, [describe_file(segment)], where=where)
                removed += [segment] if replaced else []
                added += _describe(rewritten, before, segment.last, segment.mark)
        await self._replace(removed, added)

    async def _merge(self, table: SystemTable, segments: Sequence[TableFile]) -> None:
        """Write small segments again as one, if there are many."""
        small = [segment for segment in segments if segment.rows < MAX_SEALED]
        if len(small) <= MAX_SMALL:
            return
        first, last = min(each.first for each in small), max(each.last for each in small)
        mark = max(each.mark for each in small)
        _, merged = await self._write(table, [describe_file(segment) for segment in small])
        await self._replace(small, _describe(merged, first, last, mark))

    async def _discard_versions(self, table: SystemTable, status: TableStatus) -> TableStatus:
        """Begin again from the database if most rows of the segments are former versions of records."""
        if table.source == "traffic":
            return status
        stored = sum(segment.rows for segment in status.segments)
        if stored <= 2 * await self._store.count_records(table) + MAX_UNSEALED:
            return status
        await self._replace(status.segments, ())
        return await self._store.read_status(table)

    async def _replace(self, removed: Sequence[TableFile], added: Sequence[TableFile]) -> None:
        async with self._store.lock:
            await self._store.run(lambda database: database.replace_segments(removed, added))
        for segment in removed:
            self._store.leases.discard(segment.path)

    async def _write(
        self, table: SystemTable, files: Sequence[DataFile], *, where: str = ""
    ) -> tuple[Sequence[str], list[TableFile]]:
        """Write the rows of files as new segments, which are not recorded yet. `where` leaves rows out.

        Returns the files that the segments are to replace as well: those with rows that are left out, or all.
        """
        plan = TablePlan(name=table.full_name, snapshot_id="", fields=table.fields, files=files, row_count=0)
        columns = [Column(name=field.name, type=field.type) for field in table.fields]
        target = WritePlan(
            name=table.full_name,
            mode="rewrite",
            existing=True,
            columns=columns,
            field_ids=make_field_ids(table.fields),
            token=b"",
        )
        written = await self._engine.rewrite(plan, target, files, where=where)
        return written.replaced, await trio.to_thread.run_sync(self._move, table, written.files)

    def _move(self, table: SystemTable, files: Sequence[StagedFile]) -> list[TableFile]:
        """Move staged files to their place, durable at return. Blocks."""
        segments: list[TableFile] = []
        for staged in files:
            path = self._store.new_path(table, ".parquet")
            target = self._store.directory.path / path
            os.rename(staged.path, target)  # noqa: PTH104
            size = target.stat().st_size
            segments.append(TableFile(name=table.name, path=path, rows=staged.rows, size=size, first=0, last=0, mark=0))
        sync_directory(self._store.directory.system)
        return segments

    def list_stored(self) -> Iterator[SystemTable]:
        """The tables that have rows of their own."""
        return (table for table in self._store.tables.values() if not table.rows_of)


def _describe(segments: Iterable[TableFile], first: float, last: float, mark: int) -> list[TableFile]:
    return [replace(segment, first=first, last=last, mark=mark) for segment in segments]
