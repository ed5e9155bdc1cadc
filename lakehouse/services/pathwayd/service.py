"""The open pathwayd: its store, its index of meanings, and the ends of sources that other services tell it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from lakehouse.core.errors import LakehouseError
from lakehouse.process.tasks import open_background
from lakehouse.services.contracts.retrieval import RetrievalEngine
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.pathwayd.meaning import TraceMeanings
from lakehouse.services.pathwayd.store import SourceExists, TraceStore, open_trace_store
from lakehouse.services.pathwayd.traces import Source

logger = logging.getLogger("lakehouse.pathwayd")


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

    async def rename_table(self, name: str, to: str) -> None:
        """Let what was derived from a table name it by its new name."""
        await self.store.rename_table(name, to)


@asynccontextmanager
async def open_traces(
    directory: LakeDirectory, engine: RetrievalEngine, *, model: str, exists: Mapping[str, SourceExists]
) -> AsyncIterator[Traces]:
    """Open the traces for the length of the block. The engine starts when there are traces that it lacks.

    `model` embeds the traces; `exists` has a check for each kind of source whose end is known. What a crash has left
    behind its source is retired. Raises sqlite3.Error, OSError.
    """
    async with open_trace_store(directory, exists) as store, open_background() as nursery:
        meanings = TraceMeanings(store, engine, model)
        nursery.start_soon(_retire_orphans, store)
        nursery.start_soon(meanings.follow)
        yield Traces(store, meanings)


async def _retire_orphans(store: TraceStore) -> None:
    """Retire what a crash has left behind its source. A failure is logged; the next start tries again."""
    try:
        await store.retire_orphans()
    except (LakehouseError, sqlite3.Error) as error:
        logger.warning("traces whose sources have ended were not looked for: %s", error)
