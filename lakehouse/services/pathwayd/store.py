"""The traces of a lake: changes and reads over the records that keep them, and the check of sources."""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from lakehouse.core.errors import ErrBadRequest, ErrNotFound, LakehouseError
from lakehouse.services.pathwayd.changes import (
    Add,
    Batch,
    Change,
    Outcome,
    RenameTable,
    Retire,
    RetireRows,
    Update,
)
from lakehouse.services.pathwayd.records import TraceRecords
from lakehouse.services.pathwayd.table_rows import TableRows, group_rows
from lakehouse.services.pathwayd.trace_rows import Row, Statistics, TraceFilter, TraceReads, make_trace, read_table_rows
from lakehouse.services.pathwayd.traces import RowValues, Source, Trace

logger = logging.getLogger("lakehouse.pathwayd")

ROW_DELETED = "the row was deleted"

SourceExists = Callable[[str], Awaitable[bool]]
"""Whether there is an object of a key, or a table of a name."""


class TraceStore:
    """The traces of a lake, in the records that keep them."""

    def __init__(
        self, records: TraceRecords, exists: Mapping[str, SourceExists], rows: TableRows | None = None
    ) -> None:
        """`exists` has a check for each kind of source whose end is known: "object", "table"; `rows` finds rows."""
        self.records = records
        self._exists = exists
        self._rows = rows

    # Changes.

    async def add(
        self,
        content: bytes,
        *,
        uid: str = "",
        tags: Sequence[str] = (),
        sources: Sequence[Source] = (),
        predecessor: str | None = None,
        replay: bool = False,
    ) -> Trace:
        """Add a trace; without `uid` it gets a new id. With `replay`, an id that is there counts a replay.

        Raises ErrConflict for an id that is taken and for a source that is retired; ErrNotFound for a predecessor and
        for a source that are not there.
        """
        await self._check_sources(sources)
        add = Add(
            uid=uid or str(uuid.uuid4()),
            content=content,
            tags=tags,
            sources=sources,
            predecessor=predecessor,
            replay=replay,
        )
        trace = await self._make_trace(add)
        await self._check_again(sources)
        return trace

    async def update(self, uid: str, content: bytes, tags: Sequence[str] | None = None) -> Trace:
        """Replace the content of a trace, and its tags if some are given. Raises ErrNotFound."""
        return await self._make_trace(Update(uid=uid, content=content, tags=tags))

    async def retire(self, uid: str, *, reason: str = "") -> Sequence[str]:
        """Retire a trace and all that is derived from it. Returns the ids that were retired. Raises ErrNotFound."""
        return (await self._make(Retire(uid=uid, reason=reason))).retired

    async def retire_derived(self, source: Source, *, reason: str = "") -> Sequence[str]:
        """Retire all that is derived from a source. Returns the ids that were retired."""
        return (await self._make(Retire(source=source, reason=reason))).retired

    async def apply_batch(self, changes: Sequence[Add | Update | Retire]) -> Sequence[str]:
        """Make several changes, all of them or none. Returns the ids that were retired. Raises what `add` raises."""
        ending = {change.uid for change in changes if isinstance(change, Retire)}
        adds = [change for change in changes if isinstance(change, Add) and change.uid not in ending]
        sources = [source for add in adds for source in add.sources]
        await self._check_sources(sources)
        retired = (await self._make(Batch(changes=changes))).retired
        await self._check_again(sources)
        return retired

    async def rename_table(self, name: str, to: str) -> None:
        """Name a table by its new name in the sources of traces."""
        await self._make(RenameTable(name=name, to=to))

    async def _make(self, change: Change) -> Outcome:
        return await self.records.make(change)

    async def _make_trace(self, change: Change) -> Trace:
        trace = (await self._make(change)).trace
        assert trace is not None  # noqa: S101 - the change is one of those that have a trace
        return trace

    # Sources.

    async def _check_sources(self, sources: Sequence[Source]) -> None:
        for number, source in enumerate(sources):
            if not await self._is_there(source):
                kind, field = source.kind, f"sources[{number}].{source.kind}"
                raise ErrNotFound(f"`{field}`: there is no {kind} {getattr(source, kind)!r}", field=field)
            if isinstance(source.row, dict) and not await self._has_row(source.table, source.row, number):
                field = f"sources[{number}].row"
                raise ErrNotFound(f"`{field}`: no row of the table {source.table!r} has these values", field=field)

    async def _check_again(self, sources: Sequence[Source]) -> None:
        """A source that ended while the trace was written takes the trace along: its deletion may not have seen it."""
        rows: defaultdict[str, list[RowValues]] = defaultdict(list)
        for source in sources:
            if not await self._is_there(source):
                await self.retire_derived(Source(object=source.object, table=source.table))
            elif isinstance(source.row, dict):
                rows[source.table].append(source.row)
        for table, named in rows.items():
            await self._retire_if_missing(table, named)

    async def _has_row(self, table: str, row: RowValues, number: int) -> bool:
        """Whether a table has a row. Raises ErrBadRequest naming the field, for a column that it lacks."""
        try:
            return self._rows is None or not await self._rows.find_missing(table, [row])
        except ErrBadRequest as error:
            field = f"sources[{number}].row"
            raise ErrBadRequest(f"`{field}`: {error.message}", field=field) from None

    async def retire_missing_rows(self, table: str) -> Sequence[str]:
        """Retire what is derived from rows that a table has no more, in one transaction. Returns their ids.

        Rows that cannot be looked for, such as by a column that was dropped, stay as they are; the log says so.
        """
        return await self._retire_if_missing(table, await self.records.read(partial(read_table_rows, table=table)))

    async def _retire_if_missing(self, table: str, rows: Sequence[RowValues]) -> Sequence[str]:
        missing: list[RowValues] = []
        for group in group_rows(rows):
            try:
                missing += await self._rows.find_missing(table, group) if self._rows is not None else ()
            except LakehouseError as error:
                logger.warning("traces were not compared with the rows of %s: %s", table, error)
        if not missing:
            return ()
        return (await self._make(RetireRows(table=table, rows=missing, reason=ROW_DELETED))).retired

    async def _is_there(self, source: Source) -> bool:
        exists = self._exists.get(source.kind)
        return exists is None or await exists(getattr(source, source.kind))

    async def retire_orphans(self) -> Sequence[str]:
        """Retire what is derived from sources that ended while the store was not told, such as before a crash."""
        retired: list[str] = []
        for kind, exists in self._exists.items():
            for name in await self._read_sources(kind):
                if not await exists(name):
                    source = Source(object=name) if kind == "object" else Source(table=name)
                    retired += await self.retire_derived(source)
                elif kind == "table":
                    retired += await self.retire_missing_rows(name)
        return retired

    async def _read_sources(self, kind: str) -> Sequence[str]:
        return await self.records.read(lambda reads: reads.read_sources(kind))

    # Reads.

    async def get(self, uid: str) -> Trace:
        """A trace, retired or not. Raises ErrNotFound."""
        row = await self.records.read(lambda reads: reads.find_rows([uid]).get(uid))
        if row is None:
            raise ErrNotFound(f"there is no trace {uid!r}", field="uid")
        return make_trace(row)

    async def history(self, uid: str) -> Sequence[Trace]:
        """The trace and the versions before it, the newest first. Raises ErrNotFound, ErrConflict."""
        rows = await self.records.read(lambda reads: reads.read_history(uid))
        if not rows:
            raise ErrNotFound(f"there is no trace {uid!r}", field="uid")
        return [make_trace(row) for row in rows]

    async def search(self, wanted: TraceFilter, *, limit: int, after: str = "") -> Sequence[Trace]:
        """Traces that fit, the newest first, from behind the one of an id. Raises ErrNotFound for that."""

        def read(reads: TraceReads) -> list[Row]:
            before = None
            if after:
                row = reads.find_rows([after]).get(after)
                if row is None:
                    raise ErrNotFound(f"there is no trace {after!r}", field="after")
                before = row.number
            return reads.search_rows(wanted, limit=limit, before=before)

        return [make_trace(row) for row in await self.records.read(read)]

    async def select(self, uids: Iterable[str], wanted: TraceFilter) -> Sequence[Trace]:
        """The traces of these ids that fit, in the order of the ids."""
        rows = await self.records.read(lambda reads: reads.select_rows(uids, wanted))
        return [make_trace(row) for row in rows]

    async def read_all(self, wanted: TraceFilter, *, after: int = 0, limit: int) -> Sequence[Row]:
        """Rows that fit in the order of creation, from behind the row of a number."""
        return await self.records.read(lambda reads: reads.read_all(wanted, after=after, limit=limit))

    async def read_changed(self, after: int, *, limit: int) -> Sequence[Row]:
        """Rows that changed after a change, in the order of their last changes."""
        return await self.records.read(lambda reads: reads.read_changed(after, limit=limit))

    async def count(self) -> Statistics:
        """Count the traces."""
        return await self.records.read(lambda reads: reads.count_traces())
