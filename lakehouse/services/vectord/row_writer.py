"""Writes the rows of a table to an index: what a sync has found new, changed or gone.

The state of the source, with the snapshot, is written in the transaction of the last rows. A sync up to `MAX_ROWS` rows
and `MAX_BYTES` bytes is one transaction. A larger one has many small ones, and marks the state as incomplete until the
last one.

A cancellation leaves the index as the last transaction made it. The words of each small transaction are indexed before
the next one begins, so those of one of them are all that remains to be done then. Segments that are being merged stay
as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import msgspec
import trio

from lakehouse.core.context import Phase
from lakehouse.services.contracts.retrieval import IndexInfo, Item, RetrievalEngine, Written
from lakehouse.services.vectord.models import IndexModels
from lakehouse.services.vectord.spool import Spool
from lakehouse.services.vectord.table_rows import TableSource

MAX_ROWS = 10_000
MAX_BYTES = 16 * 1024 * 1024
"""Rows of a sync that is one transaction, and bytes of their JSON."""
PART_ROWS = 1280
PART_BYTES = 512 * 1024
"""The same of one transaction of a larger sync: its words are indexed in 10 to 30 ms of processor time."""
MAX_EMBEDDED = 256
"""Texts that are embedded at once outside of the engine; fewer if they have `PART_BYTES`."""
_NO_METADATA = msgspec.Raw(b"{}")
MARK = b"row:"
"""The beginning of the digests of rows: items with another digest are not those of a table."""


class SourceState(TableSource, frozen=True, kw_only=True):
    """What an index remembers of its table."""

    snapshot_id: str | None = None
    complete: bool = True


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row as the query gives it."""

    id: str
    text: str
    metadata: msgspec.Raw = _NO_METADATA


class RowWriter:
    """Writes what a comparison has found."""

    def __init__(
        self,
        engine: RetrievalEngine,
        models: IndexModels,
        info: IndexInfo,
        source: TableSource,
        snapshot: str,
        begin_phase: Callable[[Phase], None],
    ) -> None:
        self._engine = engine
        self._models = models
        self._info = info
        self._source = source
        self._former = read_state(info)
        self._snapshot = snapshot
        self._begin_phase = begin_phase
        self._added = self._replaced = self._deleted = 0

    async def write(self, changed: Spool, gone: Spool, *, truncate: bool) -> Written:
        """Write all; the last transaction has the snapshot. Returns the sums over the transactions."""
        try:
            return await self._write(changed, gone, truncate=truncate)
        except trio.Cancelled:  # maybe between two transactions
            self._engine.leave()
            raise

    async def _write(self, changed: Spool, gone: Spool, *, truncate: bool) -> Written:
        whole = changed.count <= MAX_ROWS and changed.size <= MAX_BYTES and gone.count <= MAX_ROWS
        max_rows, max_bytes = (MAX_ROWS, MAX_BYTES) if whole else (PART_ROWS, PART_BYTES)
        items: list[Item] = []
        size = 0
        async with aclosing(_read_batches(changed)) as batches:
            async for batch in batches:
                added = sum(map(len, batch))
                if items and (len(items) + len(batch) > max_rows or size + added > max_bytes):
                    await self._commit(items, [], complete=False)
                    items, size = [], 0
                items += await self._embed([make_item(line) for line in batch], truncate)
                size += added
        ids: list[str] = []
        async with aclosing(gone.read()) as lines:
            async for line in lines:
                if len(ids) >= max_rows:
                    await self._commit(items, ids, complete=False)
                    items, ids = [], []
                ids.append(msgspec.json.decode(line, type=str))
        return await self._commit(items, ids, complete=True)

    async def _embed(self, items: Sequence[Item], truncate: bool) -> Sequence[Item]:
        self._begin_phase("embedding")
        return await self._models.embed_items(items, self._info, truncate=truncate)

    async def _commit(self, items: Sequence[Item], ids: Sequence[str], *, complete: bool) -> Written:
        self._begin_phase("writing")
        done = await self._engine.add(
            self._info.name,
            items,
            model=self._info.model,
            delete_ids=ids,
            source_state=self._make_state(complete=complete),
            wait_for_words=not complete,
        )
        self._added += done.added
        self._replaced += done.replaced
        self._deleted += done.deleted
        return Written(
            added=self._added,
            replaced=self._replaced,
            deleted=self._deleted,
            length=done.length,
            version=done.version,
        )

    def _make_state(self, *, complete: bool) -> bytes:
        former = self._former.snapshot_id if self._former is not None else None
        source = self._source
        return msgspec.json.encode(
            SourceState(
                table=source.table,
                key=source.key,
                text=source.text,
                metadata=source.metadata,
                snapshot_id=self._snapshot if complete else former,
                complete=complete,
            )
        )


async def _read_batches(changed: Spool) -> AsyncGenerator[Sequence[bytes], None]:
    """The lines of rows that are embedded together."""
    batch: list[bytes] = []
    size = 0
    async with aclosing(changed.read()) as lines:
        async for line in lines:
            batch.append(line)
            size += len(line)
            if len(batch) >= MAX_EMBEDDED or size >= PART_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def make_digest(line: bytes) -> bytes:
    """The digest of a row: equal for equal rows."""
    return MARK + hashlib.blake2b(line, digest_size=16).digest()


def make_item(line: bytes) -> Item:
    """The item of a row. A row that lost its metadata clears that of the item."""
    row = msgspec.json.decode(line, type=Row)
    return Item(id=row.id, text=row.text, metadata=bytes(row.metadata), digest=make_digest(line))


def read_state(info: IndexInfo) -> SourceState | None:
    """What the index remembers of its table; None if it was not made of one."""
    if info.source in (b"", b"null"):
        return None
    try:
        return msgspec.json.decode(info.source, type=SourceState)
    except msgspec.DecodeError:  # the state of another kind of source
        return None
