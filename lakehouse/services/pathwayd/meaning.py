"""Search of traces by words and meaning: an index of the retrieval engine that follows the store.

The index is derived: a task copies the traces that changed since the change that the index has recorded, in the same
transaction as the copies. A kill repeats at most one batch.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
import trio

from lakehouse.core.errors import ErrConflict, ErrNotFound, LakehouseError
from lakehouse.services.contracts.retrieval import FieldType, IndexOptions, Item, RetrievalEngine, SearchQuery
from lakehouse.services.pathwayd.store import TraceStore
from lakehouse.services.pathwayd.trace_rows import Row, TraceFilter, TracesState

logger = logging.getLogger("lakehouse.pathwayd")

INDEX = "pathway_memory"
"""The name of the index, which is listed among the others."""
BATCH = 1000
"""Traces in one write to the index."""
MAX_TEXT = 8_000
"""Characters of a trace that are searchable."""
MAX_DEPTH = 32
FOLLOW_TIMEOUT = 5.0
"""Seconds that a search waits for the index to have every change that was durable when the search began."""
GATHER_TIME = 1.0
"""Seconds that changes are gathered for one write to the index, unless a search waits for them: a write of one trace
costs half as much as one of `BATCH`."""
PAUSES = (1.0, 5.0, 30.0)
"""Seconds before the index is written again after failures in a row; then with the next change or search."""


class _State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the index records of the store: the last change that it has, and of which traces."""

    change: int
    store: str = ""


class Meaning(NamedTuple):
    """What a search by text has found: ids, the best first, and how many changes the index lacked."""

    uids: Sequence[str]
    lag: int


class TraceMeanings:
    """The index of a store. `follow` keeps it up to date."""

    def __init__(self, store: TraceStore, engine: RetrievalEngine, model: str, *, is_shared: bool = False) -> None:
        """`model` is the embedding model of a new index.

        With `is_shared` other services write the index as well, so that what it has is asked of the index itself: if a
        service that stood still puts it back, the next one to look continues from there.
        """
        self._store = store
        self._engine = engine
        self._model = model
        self._is_shared = is_shared
        self._change = -1
        self._progress = trio.Event()
        self._wanted = 0
        """The last change that a search waits for."""
        self._asked = trio.Event()

    async def search(self, text: str, wanted: TraceFilter, *, k: int) -> Meaning:
        """The best `k` traces that fit. Waits a few seconds for the index to follow the store."""
        state = await self._store.records.find_state()
        if not state.change:
            return Meaning([], 0)
        if self._is_shared:
            self._change = await self._find_change(state)
        with trio.move_on_after(FOLLOW_TIMEOUT):
            self._want(state.change)
            while self._change < state.change:
                await self._progress.wait()
        query = SearchQuery(k=k, text=text, mode="hybrid", filter=make_filter(wanted), with_metadata=False)
        try:
            hits = await self._engine.search(INDEX, query)
        except ErrNotFound:
            return Meaning([], max(0, state.change - self._change))
        return Meaning([hit.id for hit in hits.decode()], max(0, state.change - self._change))

    async def follow(self) -> None:
        """Copy what changes, until cancelled. The engine starts with the first trace."""
        failures = 0
        while True:
            changed, wanted = self._store.records.changed, self._wanted
            try:
                await self._catch_up()
                failures = 0
                if self._wanted == wanted:  # what it lacks of it is no longer there, or there never was a trace
                    self._wanted = self._change
            except ErrNotFound:  # a client has deleted the index
                self._change = -1
                failures += 1
                if failures == 1:
                    continue
            except (LakehouseError, sqlite3.Error) as error:
                logger.warning("the index of traces is not up to date: %s", error)
                failures += 1
            if failures:
                await trio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])
            if not 0 < failures <= len(PAUSES):
                await self._wait_for_work(changed)

    async def _wait_for_work(self, changed: trio.Event) -> None:
        """Wait for changes, and gather more of them; or for a search that wants some that are there."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._gather, changed, nursery.cancel_scope)
            while self._wanted <= self._change:
                await self._asked.wait()
            nursery.cancel_scope.cancel()

    async def _gather(self, changed: trio.Event, scope: trio.CancelScope) -> None:
        await changed.wait()
        await trio.sleep(GATHER_TIME)
        scope.cancel()

    async def _catch_up(self) -> None:
        state = await self._store.records.find_state()
        if not state.change:
            return
        if self._is_shared or self._change < 0:
            self._advance(await self._open_index(state))
        while self._change < state.change:
            rows = await self._store.read_changed(self._change, limit=BATCH)
            if not rows:  # the last changes were made to the same traces
                self._advance(state.change)
                return
            source = msgspec.json.encode(_State(rows[-1].change, state.store))
            await self._engine.add(INDEX, [make_item(row) for row in rows], source_state=source)
            self._advance(rows[-1].change)

    async def _open_index(self, state: TracesState) -> int:
        """The change that the index has; it is made if it is missing, and again if it has other traces."""
        if (change := await self._find_change(state)) >= 0:
            return change
        fields: dict[str, FieldType] = {"retired": "bool", "created_ms": "int"}
        with suppress(ErrNotFound):
            await self._engine.delete_index(INDEX)
        try:
            await self._engine.create_index(IndexOptions(name=INDEX, model=self._model, fields=fields))
        except ErrConflict:  # made by somebody else at the same time
            return max(0, await self._find_change(state))
        return 0

    async def _find_change(self, state: TracesState) -> int:
        """The last change that the index has; -1 if there is none, or if it has changes which these traces lack."""
        try:
            info = await self._engine.get_index(INDEX)
        except ErrNotFound:
            return -1
        found = _read_state(info.source)
        if found.change > state.change:  # by another service meanwhile, or the traces are a former state of themselves
            state = await self._store.records.find_state()
        return -1 if found.store != state.store or found.change > state.change else found.change

    def _want(self, change: int) -> None:
        self._wanted = max(self._wanted, change)
        self._asked.set()
        self._asked = trio.Event()

    def _advance(self, change: int) -> None:
        self._change = change
        self._progress.set()
        self._progress = trio.Event()


def _read_state(source: bytes) -> _State:
    """The state of the index; that of an empty one if it is not this one's, such as that of a table."""
    try:
        return msgspec.json.decode(source, type=_State)
    except msgspec.DecodeError:
        return _State(0)


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
