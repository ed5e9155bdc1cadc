"""The open pathwayd: its store, its index of meanings, and the ends of sources that other services tell it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.process.tasks import open_background
from lakehouse.services.contracts.retrieval import RetrievalEngine
from lakehouse.services.pathwayd.meaning import TraceMeanings
from lakehouse.services.pathwayd.records import TraceRecords
from lakehouse.services.pathwayd.store import SourceExists, TraceStore
from lakehouse.services.pathwayd.table_rows import TableRows
from lakehouse.services.pathwayd.traces import Source

logger = logging.getLogger("lakehouse.pathwayd")

PAUSES = (0.0, 10.0, 60.0, 600.0, 3_600.0)
"""Seconds before each look for sources that have ended, of which one suffices: a database may come back."""


class Traces:
    """The traces of an open lake. Implements `SourceEnds`; made by `open_traces`."""

    def __init__(self, store: TraceStore, meanings: TraceMeanings) -> None:
        self.store = store
        self.meanings = meanings

    async def end_object(self, key: str) -> Sequence[str]:
        """Retire what was derived from an object that was deleted."""
        return await self.store.retire_derived(Source(object=key), reason="the object was deleted")

    async def end_table(self, name: str) -> Sequence[str]:
        """Retire what was derived from a table that was dropped."""
        return await self.store.retire_derived(Source(table=name), reason="the table was dropped")

    async def end_rows(self, name: str) -> Sequence[str]:
        """Retire what was derived from rows that a table has no more."""
        return await self.store.retire_missing_rows(name)

    async def rename_table(self, name: str, to: str) -> None:
        """Let what was derived from a table name it by its new name."""
        await self.store.rename_table(name, to)


@asynccontextmanager
async def open_traces(
    records: TraceRecords,
    engine: RetrievalEngine,
    *,
    model: str,
    exists: Mapping[str, SourceExists],
    rows: TableRows | None = None,
    shares_index: bool = False,
) -> AsyncIterator[Traces]:
    """Open the traces for the length of the block. The engine starts when there are traces that it lacks.

    `model` embeds the traces; `exists` has a check for each kind of source whose end is known, and `rows` finds rows of
    tables. With `shares_index` other services have the same traces and the same index. What a crash has left behind its
    source is retired.
    """
    store = TraceStore(records, exists, rows)
    async with open_background() as nursery:
        meanings = TraceMeanings(store, engine, model, is_shared=shares_index)
        nursery.start_soon(_retire_orphans, store)
        nursery.start_soon(meanings.follow)
        yield Traces(store, meanings)


async def _retire_orphans(store: TraceStore) -> None:
    """Retire what a crash has left behind its source. A failure is logged; after the last one the next start looks."""
    for pause in PAUSES:
        await trio.sleep(pause)
        try:
            await store.retire_orphans()
        except (LakehouseError, sqlite3.Error) as error:
            logger.warning("traces whose sources have ended were not looked for: %s", error)
        else:
            return
