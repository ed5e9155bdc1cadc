"""The open store of traces: changes that are durable at return, reads in threads, and the check of sources."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from sqlite3 import Connection

import trio

from lakehouse.core.errors import ErrNotFound
from lakehouse.services.lake.database import DatabaseReaders
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.lake.group_commit import GroupCommit, PendingChange
from lakehouse.services.pathwayd import queries
from lakehouse.services.pathwayd.database import Add, Batch, Change, Outcome, RenameTable, Retire, TraceDatabase, Update
from lakehouse.services.pathwayd.queries import Row, Statistics, TraceFilter
from lakehouse.services.pathwayd.traces import Source, Trace

SourceExists = Callable[[str], Awaitable[bool]]
"""Whether there is an object of a key, or a table of a name."""


class TraceStore:
    """The traces of a lake. Made by `open_trace_store`."""

    def __init__(self, database: TraceDatabase, readers: DatabaseReaders, exists: Mapping[str, SourceExists]) -> None:
        """`exists` has a check for each kind of source whose end is known: "object", "table"."""
        self._database = database
        self._readers = readers
        self._exists = exists
        self._commit: GroupCommit[Change, Outcome] = GroupCommit(database.apply, self._wake)
        self.changed = trio.Event()
        """Set, and replaced, after each transaction."""
        self.change = database.change
        """The number of the last change that is durable."""

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
        pending: PendingChange[Change, Outcome] = PendingChange(change)
        return await self._commit.make(pending)

    async def _make_trace(self, change: Change) -> Trace:
        trace = (await self._make(change)).trace
        assert trace is not None  # noqa: S101 - the change is one of those that have a trace
        return trace

    def _wake(self, _batch: object) -> None:
        self.change = self._database.change
        self.changed.set()
        self.changed = trio.Event()

    # Sources.

    async def _check_sources(self, sources: Sequence[Source]) -> None:
        for number, source in enumerate(sources):
            if not await self._is_there(source):
                kind, field = source.kind, f"sources[{number}].{source.kind}"
                raise ErrNotFound(f"`{field}`: there is no {kind} {getattr(source, kind)!r}", field=field)

    async def _check_again(self, sources: Sequence[Source]) -> None:
        """A source that ended while the trace was written takes the trace along: its deletion may not have seen it."""
        for source in sources:
            if not await self._is_there(source):
                await self.retire_derived(source)

    async def _is_there(self, source: Source) -> bool:
        exists = self._exists.get(source.kind)
        return exists is None or await exists(getattr(source, source.kind))

    async def retire_orphans(self) -> Sequence[str]:
        """Retire what is derived from sources that ended while the store was not told, such as before a crash."""
        retired: list[str] = []
        for kind, exists in self._exists.items():
            for name in await self._readers.run(partial(queries.read_sources, kind=kind)):
                if not await exists(name):
                    source = Source(object=name) if kind == "object" else Source(table=name)
                    retired += await self.retire_derived(source)
        return retired

    # Reads.

    async def get(self, uid: str) -> Trace:
        """A trace, retired or not. Raises ErrNotFound."""
        row = await self._readers.run(lambda db: queries.find_row(db, uid))
        if row is None:
            raise ErrNotFound(f"there is no trace {uid!r}", field="uid")
        return queries.make_trace(row)

    async def history(self, uid: str) -> Sequence[Trace]:
        """The trace and the versions before it, the newest first. Raises ErrNotFound, ErrConflict."""
        rows = await self._readers.run(lambda db: queries.read_history(db, uid))
        if not rows:
            raise ErrNotFound(f"there is no trace {uid!r}", field="uid")
        return [queries.make_trace(row) for row in rows]

    async def search(self, wanted: TraceFilter, *, limit: int, after: str = "") -> Sequence[Trace]:
        """Traces that fit, the newest first, from behind the one of an id. Raises ErrNotFound for that."""

        def read(db: Connection) -> list[Row]:
            before = None
            if after:
                row = queries.find_row(db, after)
                if row is None:
                    raise ErrNotFound(f"there is no trace {after!r}", field="after")
                before = row.number
            return queries.search_rows(db, wanted, limit=limit, before=before)

        return [queries.make_trace(row) for row in await self._readers.run(read)]

    async def select(self, uids: Iterable[str], wanted: TraceFilter) -> Sequence[Trace]:
        """The traces of these ids that fit, in the order of the ids."""
        rows = await self._readers.run(lambda db: queries.select_rows(db, uids, wanted))
        return [queries.make_trace(row) for row in rows]

    async def read_all(self, wanted: TraceFilter, *, after: int = 0, limit: int) -> Sequence[Row]:
        """Rows that fit in the order of creation, from behind the row of a number."""
        return await self._readers.run(lambda db: queries.read_all(db, wanted, after=after, limit=limit))

    async def read_changed(self, after: int, *, limit: int) -> Sequence[Row]:
        """Rows that changed after a change, in the order of their last changes."""
        return await self._readers.run(lambda db: queries.read_changed(db, after, limit=limit))

    async def count(self) -> Statistics:
        """Count the traces."""
        return await self._readers.run(queries.count_traces)


@asynccontextmanager
async def open_trace_store(
    directory: LakeDirectory, exists: Mapping[str, SourceExists] | None = None
) -> AsyncIterator[TraceStore]:
    """Open the traces for the length of the block. Raises sqlite3.Error, OSError."""
    database = await trio.to_thread.run_sync(TraceDatabase, directory.pathway_db)
    readers = DatabaseReaders(directory.pathway_db)
    try:
        yield TraceStore(database, readers, exists or {})
    finally:
        readers.close()
        database.close()
