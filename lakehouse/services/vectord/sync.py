"""An index kept to a table of the lake: new and changed rows are written, rows that are gone are deleted.

A query reads all rows of one snapshot in the order of their ids; the index lists its ids and digests in the same order,
so that both are compared as streams. What differs is spooled, and written by `row_writer`.

A cancellation ends the query, and leaves the index as the last transaction made it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import trio

from lakehouse.core.context import Phase
from lakehouse.core.errors import ErrBadRequest, ErrNotFound, ErrUnprocessable
from lakehouse.services.contracts.query_engine import Query, QueryEngine
from lakehouse.services.contracts.retrieval import Digest, IndexInfo, RetrievalEngine
from lakehouse.services.contracts.tables import Tables
from lakehouse.services.vectord.models import IndexModels
from lakehouse.services.vectord.requests import SyncRequest
from lakehouse.services.vectord.responses import SourceDocument
from lakehouse.services.vectord.row_writer import MARK, RowWriter, SourceState, make_digest, read_state
from lakehouse.services.vectord.spool import Spool, open_spool, split_lines
from lakehouse.services.vectord.table_rows import (
    TableSource,
    count_keys,
    explain_key,
    select_repeated_key,
    select_rows,
)

PAGE = 10_000
"""Digests that are listed at once."""


class _RowId(msgspec.Struct, frozen=True):
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """The result of a sync. `added` counts new and changed rows."""

    added: int
    replaced: int
    deleted: int
    length: int
    version: int
    from_snapshot: str | None
    to_snapshot: str


class _Digests:
    """The ids and digests of an index in the order of the ids, one page at a time."""

    def __init__(self, engine: RetrievalEngine, index: str) -> None:
        self._engine = engine
        self._index = index
        self._page: Sequence[Digest] = ()
        self._place = 0
        self._after: str | None = ""

    async def peek(self) -> Digest | None:
        """The next one, None at the end."""
        while self._place >= len(self._page):
            if self._after is None:
                return None
            self._page = await self._engine.list_digests(self._index, after=self._after, limit=PAGE)
            self._place = 0
            self._after = self._page[-1].id if len(self._page) == PAGE else None
        return self._page[self._place]

    def advance(self) -> None:
        """Go to the one behind."""
        self._place += 1


class TableSync:
    """Brings indexes to the newest snapshot of their tables. Syncs of one index follow one another."""

    def __init__(
        self,
        engine: RetrievalEngine,
        models: IndexModels,
        queries: QueryEngine,
        tables: Tables,
        spill: Path,
    ) -> None:
        """`spill` is the folder of temporary files."""
        self._engine = engine
        self._models = models
        self._queries = queries
        self._tables = tables
        self._spill = spill
        self._locks: dict[str, trio.Lock] = {}

    async def run(self, index: str, request: SyncRequest, begin_phase: Callable[[Phase], None]) -> Synced:
        """Sync an index.

        Raises ErrBadRequest for a column that the table lacks, ErrNotFound, and ErrUnprocessable for a key that is NULL
        or not unique.
        """
        begin_phase("queued")
        async with self._hold(index):
            info = await self._engine.get_index(index)
            if not info.model:
                raise ErrBadRequest(f"the index {index!r} has no embedding model, so it takes no texts of a table")
            state = read_state(info)
            source = _choose_source(request, state)
            plan = await self._tables.plan(source.table)
            source.check(plan)
            snapshot = plan.snapshot_id
            begin_phase("scanning")
            await self._check_key(source, snapshot)
            async with open_spool(self._spill) as changed, open_spool(self._spill) as gone:
                await self._compare(index, source, snapshot, changed, gone)
                writer = RowWriter(self._engine, self._models, info, source, snapshot, begin_phase)
                done = await writer.write(changed, gone, truncate=request.truncate)
        return Synced(
            added=done.added,
            replaced=done.replaced,
            deleted=done.deleted,
            length=done.length,
            version=done.version,
            from_snapshot=None if state is None or state.table != source.table else state.snapshot_id,
            to_snapshot=snapshot,
        )

    async def describe(self, info: IndexInfo) -> SourceDocument | None:
        """What is known of the table of an index."""
        state = read_state(info)
        if state is None:
            return None
        return SourceDocument(
            table=state.table,
            key=state.key,
            text=list(state.text),
            metadata=list(state.metadata),
            snapshot_id=state.snapshot_id,
            complete=state.complete,
            behind=await self._count_later(state),
        )

    async def _count_later(self, state: SourceState) -> int | None:
        try:
            newest = await self._tables.find(state.table)
            if newest is None or newest.snapshot_id == state.snapshot_id:
                return None if newest is None else 0
            snapshots = await self._tables.snapshots(state.table)
        except (ErrNotFound, ErrBadRequest):
            return None
        places = {each.snapshot_id: place for place, each in enumerate(snapshots)}
        return None if state.snapshot_id is None else places.get(state.snapshot_id)

    async def _check_key(self, source: TableSource, snapshot: str) -> None:
        (counts,) = await self._read(count_keys(source, snapshot))
        problem = explain_key(source, [int(str(count)) for count in counts])
        if not problem:
            return
        details: dict[str, object] = {"column": source.key}
        for value, count in await self._read(select_repeated_key(source, snapshot)):
            if value is not None:
                problem += f": {str(value)[:80]!r} in {int(str(count)):,} of them"
                details["value"] = str(value)[:1000]
        raise ErrUnprocessable(problem, field="key", details=details)

    async def _read(self, sql: str) -> list[list[object]]:
        """The rows of a small result."""
        async with self._queries.run(Query(sql=sql, format="json")) as result:
            data = b"".join([piece async for piece in result])
        rows: list[list[object]] = msgspec.json.decode(b"[" + data.removesuffix(b",") + b"]")
        return rows

    async def _compare(self, index: str, source: TableSource, snapshot: str, changed: Spool, gone: Spool) -> None:
        """Spool the rows that the index lacks or has otherwise, and the ids of rows that the table no longer has."""
        digests = _Digests(self._engine, index)
        async with (
            self._queries.run(Query(sql=select_rows(source, snapshot), format="ndjson")) as result,
            aclosing(split_lines(aiter(result))) as lines,
        ):
            async for line in lines:
                row_id = msgspec.json.decode(line, type=_RowId).id
                known = await _skip_to(digests, row_id, gone)
                if known is not None:
                    digests.advance()
                if known is None or known.digest != make_digest(line):
                    await changed.add(line)
        await _skip_to(digests, None, gone)

    @asynccontextmanager
    async def _hold(self, index: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(index, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and not lock.statistics().tasks_waiting and self._locks.get(index) is lock:
                del self._locks[index]


async def _skip_to(digests: _Digests, row_id: str | None, gone: Spool) -> Digest | None:
    """Go on to the digest of a row; those of rows before it are gone. None if the index does not have the row."""
    while (known := await digests.peek()) is not None and (row_id is None or known.id < row_id):
        if known.digest.startswith(MARK):
            await gone.add(msgspec.json.encode(known.id))
        digests.advance()
    return known if known is not None and known.id == row_id else None


def _choose_source(request: SyncRequest, state: SourceState | None) -> TableSource:
    """The source of the request, completed by what the index remembers. Raises ErrBadRequest for a missing field."""
    same = state if state is not None and request.table in (None, state.table) else None
    text = request.text if request.text is not None else (same and same.text)
    table = request.table or (same and same.table)
    key = request.key or (same and same.key)
    for name, value in (("table", table), ("key", key), ("text", text)):
        if not value:
            raise ErrBadRequest(f"`{name}` is required for the first sync with a table", field=name)
    metadata = request.metadata if request.metadata is not None else (same.metadata if same is not None else ())
    return TableSource(
        table=str(table),
        key=str(key),
        text=(text,) if isinstance(text, str) else tuple(text or ()),
        metadata=tuple(metadata),
    )
