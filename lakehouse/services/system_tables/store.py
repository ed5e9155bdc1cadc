"""The open system tables: rows are appended, and a query gets the files with all rows that were appended before it.

The rows of a table are in segments, and the newest ones in files of lines: those that batches were appended to, or, for
the records of a service, one that is written for the query, if there are others than at the query before. One thread at
a time uses the database.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import TypeVar

import trio

from lakehouse.core.errors import ErrNotFound, LakehouseError
from lakehouse.services.contracts.catalog import DataObject, Manifest, dataset_id
from lakehouse.services.contracts.row_sources import RecordCount, RowSource
from lakehouse.services.contracts.tables import LINES_SUFFIX, DataFile, TableField, TablePlan
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.system_tables.database import SystemDatabase, TableFile
from lakehouse.services.system_tables.definitions import CONTENTS, SystemTable
from lakehouse.services.system_tables.leases import FileLeases
from lakehouse.telemetry.traffic_ipc import Batch

logger = logging.getLogger("lakehouse.system_tables")

MAX_UNSEALED = 20_000
"""Rows that a query may read as lines; more become a segment first."""

MAX_FILES = 64
"""Files of lines that a query may read; more become a segment first. Each query ends the growth of one."""

MAX_SEALED = 100_000
"""Rows of a segment that is written from lines, and rows that become one although no query reads them."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsealedFiles:
    """Files of lines with rows that are in no segment, from behind a mark up to another.

    `first` and `last` are the times of the oldest and of the newest row.
    """

    files: Sequence[DataFile] = ()
    after: int = 0
    mark: int = 0
    first: float = 0.0
    last: float = 0.0


@dataclass(frozen=True, slots=True)
class TableStatus:
    """A table's segments, the number of rows in none of them, and the last batch or change that these have.

    `files` are the files with such rows, and `first` is the time of the oldest row, if they were appended.
    """

    segments: Sequence[TableFile] = ()
    unsealed: int = 0
    mark: int = 0
    files: int = 0
    first: float = inf

    @property
    def segment_mark(self) -> int:
        """The last batch or change whose rows are in a segment."""
        return max((segment.mark for segment in self.segments), default=0)

    @property
    def rows(self) -> int:
        """All rows."""
        return self.unsealed + sum(segment.rows for segment in self.segments)

    def needs_segment(self, *, above: int) -> bool:
        """Whether more rows than `above`, or too many files, are in no segment."""
        return self.unsealed > above or self.files > MAX_FILES


class SystemStore:
    """The rows of the system tables. `tables` are those that there are, by name; `sources` are services by name."""

    def __init__(
        self,
        directory: LakeDirectory,
        database: SystemDatabase,
        tables: Mapping[str, SystemTable],
        sources: Mapping[str, RowSource],
    ) -> None:
        self.directory = directory
        self.tables = tables
        self.leases = FileLeases(directory.path)
        self.lock = trio.Lock()
        """Held while a read is planned, and while the list of segments changes."""
        self.appending = trio.Lock()
        """Held while a batch is appended."""
        self.appended = trio.Event()
        """Set when a table may have enough rows for a segment."""
        self._opened = datetime.now(UTC)
        self._database = database
        self._thread = trio.CapacityLimiter(1)
        self._sources = sources
        self._records: dict[str, UnsealedFiles] = {}
        """The file of lines with the newest records of a service, by table."""
        self._appended_rows: Counter[str] = Counter()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    async def run(self, function: Callable[[SystemDatabase], Result]) -> Result:
        """Use the database in a thread. Raises sqlite3.Error."""
        return await trio.to_thread.run_sync(function, self._database, limiter=self._thread)

    async def append(self, batch: Batch) -> bool:
        """Store a batch of a worker: durable at return. False, and a line in the log, if it cannot be stored."""
        try:
            async with self.appending:
                await self.run(lambda database: database.append(batch))
        except (sqlite3.Error, OSError) as error:  # such as a full disk
            logger.warning("rows of the system tables could not be stored: %s", error)
            return False
        for name, rows in batch.tables.items():
            self._appended_rows[name] += rows.count
            if self._appended_rows[name] > MAX_SEALED:
                self._appended_rows[name] = 0
                self.appended.set()
        return True

    async def read_status(self, table: SystemTable) -> TableStatus:
        """The segments and the number of other rows of a table that has rows of its own."""
        segments = await self.run(lambda database: database.list_segments(table.name))
        if table.source == "traffic":
            return TableStatus(segments, *await self.run(lambda database: database.count_unsealed(table.name)))
        found = await self._count_newer(table, segments)
        if not await self._are_of(table, segments, found):
            segments = ()
            found = await self._count_newer(table, segments)
        return TableStatus(segments, found.newer, found.last)

    async def _count_newer(self, table: SystemTable, segments: Sequence[TableFile]) -> RecordCount:
        return await self._sources[table.source].count(max((segment.mark for segment in segments), default=0))

    async def _are_of(self, table: SystemTable, segments: Sequence[TableFile], found: RecordCount) -> bool:
        """Whether segments have rows of the records that the service has now. They are deleted if they have not.

        It has others if it was configured to keep them elsewhere, or if their database was set back to a copy.
        """
        store = await self.run(lambda database: database.find_record_store(table.name))
        if store == found.store and all(segment.mark <= found.last for segment in segments):
            return True
        await self.run(lambda database: database.set_record_store(table.name, found.store))
        for segment in segments:
            self.leases.discard(segment.path)
        return False

    async def count_records(self, table: SystemTable) -> int:
        """How many records the service has whose records are the rows of the table."""
        return (await self._sources[table.source].count(0)).newer

    async def plan(self, name: str) -> TablePlan:
        """Plan a read of the table with a short name, with all rows that were appended before the call.

        Raises ErrNotFound.
        """
        table = self.tables.get(name)
        if table is None:
            raise ErrNotFound(f"there is no table {name!r} of the service")
        stored = self.find_stored(table)
        async with self.lock:
            status = await self.read_status(stored)
            # Records that have changed since they were counted are read again, behind those that have not.
            unsealed = await self.take_unsealed(stored, status, limit=sys.maxsize)
            files = [*map(describe_file, status.segments), *unsealed.files]
        return TablePlan(
            name=table.full_name,
            snapshot_id=str(max(unsealed.mark, status.segment_mark)),
            fields=tuple(stored.fields),
            files=files,
            row_count=sum(file.rows for file in files),
            query=table.query,
        )

    def find_stored(self, table: SystemTable) -> SystemTable:
        """The table whose rows a table has: mostly itself."""
        return self.tables[table.rows_of] if table.rows_of else table

    async def describe(self, name: str) -> Manifest:
        """The table with a short name. One that is made of another table's rows counts none."""
        table = self.tables[name]
        status = TableStatus() if table.rows_of else await self._describe_status(table)
        segments = status.segments
        times = [datetime.fromtimestamp(time, UTC) for segment in segments for time in (segment.first, segment.last)]
        return Manifest(
            dataset_id=dataset_id(table.full_name),
            name=table.full_name,
            schema_fingerprint="",
            snapshot_id=str(max(status.mark, status.segment_mark)),
            columns=table.columns,
            objects=[DataObject(key=each.path, size=each.size, rows=each.rows) for each in segments],
            row_count=status.rows,
            created_at=min(times, default=self._opened),
            updated_at=max(times, default=self._opened),
        )

    async def _describe_status(self, table: SystemTable) -> TableStatus:
        """The status of a table for a list, in which records that cannot be reached are not counted."""
        try:
            return await self.read_status(table)
        except LakehouseError:
            return TableStatus(await self.run(lambda database: database.list_segments(table.name)))

    async def take_unsealed(self, table: SystemTable, status: TableStatus, *, limit: int) -> UnsealedFiles:
        """The files of lines with the oldest rows that are in no segment, about `limit` rows or all.

        They stay as they are, until the rows are in a segment and `discard` is called.
        """
        if table.source != "traffic":
            return await self._write_records(table, status, limit=limit)
        taken = await self.run(lambda database: database.take_unsealed(table.name, limit=limit))
        return UnsealedFiles(
            files=[describe_file(file) for file in taken],
            mark=max((file.mark for file in taken), default=0),
            first=min((file.first for file in taken), default=0.0),
            last=max((file.last for file in taken), default=0.0),
        )

    async def _write_records(self, table: SystemTable, status: TableStatus, *, limit: int) -> UnsealedFiles:
        """The records of a service as a file: that of the last query, if it has them all.

        A crash may leave it incomplete: it does not outlive the process.
        """
        present = self._records.get(table.name)
        if present is not None:
            if (present.after, present.mark) == (status.segment_mark, status.mark):
                return present
            self.discard(table, present)
        if not status.unsealed:
            return UnsealedFiles()
        rows = await self._sources[table.source].read(status.segment_mark, limit=limit)
        path = self.new_path(table, LINES_SUFFIX)
        await trio.Path(self.directory.path / path).write_bytes(rows.lines)
        file = DataFile(path=path, size=len(rows.lines), rows=rows.count)
        written = UnsealedFiles(
            files=[file], after=status.segment_mark, mark=rows.mark, first=rows.first, last=rows.last
        )
        self._records[table.name] = written
        return written

    def discard(self, table: SystemTable, unsealed: UnsealedFiles) -> None:
        """Delete files of lines that no new query will read, when no running query reads them."""
        if self._records.get(table.name) is unsealed:
            del self._records[table.name]
        for file in unsealed.files:
            self.leases.discard(file.path)

    def new_path(self, table: SystemTable, suffix: str) -> str:
        """The path of a new file of a table, relative to the folder of the lake."""
        return f"{self.directory.system.name}/{table.name}-{secrets.token_hex(8)}{suffix}"

    def clean_up(self) -> None:
        """Delete contents that are no longer recorded, and what a process that was killed has left. Blocks."""
        if CONTENTS.name not in self.tables:
            self._database.delete_table(CONTENTS.name)
        for table in self.tables.values():
            if table.rows_of:  # former versions kept rows of it
                self._database.delete_table(table.name)
        self._database.repair()
        known = set().union(*map(self._database.list_paths, self.tables))
        for path in self.directory.system.iterdir():
            if f"{self.directory.system.name}/{path.name}" not in known:
                path.unlink()


def describe_file(file: TableFile) -> DataFile:
    """A file as one of a plan."""
    return DataFile(path=file.path, size=file.size, rows=file.rows)


def make_field_ids(fields: Sequence[TableField]) -> str:
    """The value of COPY's FIELD_IDS for columns without parts, and lists."""
    ids = []
    for field in fields:
        element = f"{{__duckdb_field_id: {field.id}, element: {field.id + 1000}}}"
        ids.append(f'"{field.name}": {element if field.type.endswith("[]") else field.id}')
    return "{" + ", ".join(ids) + "}"
