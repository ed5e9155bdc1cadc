"""Search of traces by words and meaning: an index of the retrieval engine that follows the store.

The index is derived: a task copies the traces that changed since the change that the index has recorded, in the same
transaction as the copies. A kill repeats at most one batch.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import trio

from lakehouse.core.errors import ErrConflict, ErrNotFound, LakehouseError
from lakehouse.services.contracts.retrieval import FieldType, IndexOptions, Item, RetrievalEngine, SearchQuery
from lakehouse.services.pathwayd.queries import Row, TraceFilter
from lakehouse.services.pathwayd.store import TraceStore

logger = logging.getLogger("lakehouse.pathwayd")

INDEX = "pathway_memory"
"""The name of the index, which is listed among the others."""
BATCH = 200
"""Traces in one write to the index."""
MAX_TEXT = 8_000
"""Characters of a trace that are searchable."""
MAX_DEPTH = 32
FOLLOW_TIMEOUT = 5.0
"""Seconds that a search waits for the index to have every change that was durable when the search began."""
PAUSES = (1.0, 5.0, 30.0)
"""Seconds before the index is written again after failures in a row; then with the next change."""


class _State(msgspec.Struct, frozen=True):
    """What the index records of the store."""

    change: int


class Meaning(NamedTuple):
    """What a search by text has found: ids, the best first, and how many changes the index lacked."""

    uids: Sequence[str]
    lag: int


class TraceMeanings:
    """The index of a store. `follow` keeps it up to date."""

    def __init__(self, store: TraceStore, engine: RetrievalEngine, model: str) -> None:
        """`model` is the embedding model of a new index."""
        self._store = store
        self._engine = engine
        self._model = model
        self._change = -1
        self._progress = trio.Event()

    async def search(self, text: str, wanted: TraceFilter, *, k: int) -> Meaning:
        """The best `k` traces that fit. Waits a few seconds for the index to follow the store."""
        target = self._store.change
        if not target:
            return Meaning([], 0)
        with trio.move_on_after(FOLLOW_TIMEOUT):
            while self._change < target:
                await self._progress.wait()
        query = SearchQuery(k=k, text=text, mode="hybrid", filter=make_filter(wanted), with_metadata=False)
        try:
            hits = await self._engine.search(INDEX, query)
        except ErrNotFound:
            return Meaning([], max(0, target - self._change))
        return Meaning([hit.id for hit in hits.decode()], max(0, target - self._change))

    async def follow(self) -> None:
        """Copy what changes, until cancelled. The engine starts with the first trace."""
        failures = 0
        while True:
            changed = self._store.changed
            try:
                await self._catch_up()
                failures = 0
            except ErrNotFound:  # a client has deleted the index
                self._change = -1
                failures += 1
                if failures == 1:
                    continue
            except (LakehouseError, sqlite3.Error) as error:
                logger.warning("the index of traces is not up to date: %s", error)
                failures += 1
            if 0 < failures <= len(PAUSES):
                await trio.sleep(PAUSES[failures - 1])
            else:
                await changed.wait()

    async def _catch_up(self) -> None:
        if self._change < 0:
            if not self._store.change:
                return
            self._change = await self._open_index()
        while self._change < self._store.change:
            rows = await self._store.read_changed(self._change, limit=BATCH)
            if not rows:  # the last changes were made to the same traces
                self._advance(self._store.change)
                return
            state = msgspec.json.encode(_State(rows[-1].change))
            await self._engine.add(INDEX, [make_item(row) for row in rows], source_state=state)
            self._advance(rows[-1].change)

    async def _open_index(self) -> int:
        """The change that the index has; it is made if it is missing."""
        try:
            info = await self._engine.get_index(INDEX)
        except ErrNotFound:
            fields: dict[str, FieldType] = {"retired": "bool", "created_ms": "int"}
            try:
                await self._engine.create_index(IndexOptions(name=INDEX, model=self._model, fields=fields))
            except ErrConflict:  # made by a client at the same time
                return await self._open_index()
            return 0
        return _read_change(info.source)

    def _advance(self, change: int) -> None:
        self._change = change
        self._progress.set()
        self._progress = trio.Event()


def _read_change(source: bytes) -> int:
    """The change in the state of the index; 0 for a state that is not this one's, such as that of a table."""
    try:
        return msgspec.json.decode(source, type=_State).change
    except msgspec.DecodeError:
        return 0


def make_item(row: Row) -> Item:
    """The item of a trace: its words, and what filters need."""
    metadata = {
        "retired": bool(row.retired),
        "created_ms": row.created // 1_000_000,
        "tags": msgspec.Raw(row.tags),
    }
    text = " ".join(_iterate_words(_decode_content(row.content)))[:MAX_TEXT]
    tags = " ".join(msgspec.json.decode(row.tags, type=list[str]))
    return Item(id=row.uid, text=f"{text} {tags}".strip(), metadata=msgspec.json.encode(metadata))


def _decode_content(content: bytes) -> object:
    """The value of a content; None for one that a former version stored and that cannot be decoded."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def make_filter(wanted: TraceFilter) -> bytes:
    """The filter of the engine for a filter of traces."""
    parts: list[dict[str, object]] = [{"tags": tag} for tag in wanted.tags]
    if wanted.state != "all":
        parts.append({"retired": wanted.state == "retired"})
    span: dict[str, object] = {}
    if wanted.created_from is not None:
        span["gte"] = wanted.created_from // 1_000_000
    if wanted.created_before is not None:
        span["lte"] = wanted.created_before // 1_000_000
    if span:
        parts.append({"created_ms": span})
    return msgspec.json.encode({"and": parts}) if parts else b""


def _iterate_words(value: object, depth: int = 0) -> Iterator[str]:
    """The texts, numbers and member names of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool | None):
        return
    elif isinstance(value, int | float):
        yield str(value)
    elif depth < MAX_DEPTH and isinstance(value, list):
        for item in value:
            yield from _iterate_words(item, depth + 1)
    elif depth < MAX_DEPTH and isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _iterate_words(item, depth + 1)
