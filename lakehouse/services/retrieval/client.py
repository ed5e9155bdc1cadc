"""The retrieval engine in the services process: the contract `services.contracts.retrieval`, by calls to its child.

This process imports neither numpy nor the libraries of the indexes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import trio

from lakehouse.core import errors
from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.retrieval import (
    CorpusQuery,
    Digest,
    EmbeddedTexts,
    EngineStats,
    Hits,
    IndexInfo,
    IndexOptions,
    Item,
    ManyHits,
    Merged,
    SearchQuery,
    StoredItem,
    Written,
)
from lakehouse.services.contracts.vector_store import StoreItem
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.retrieval import messages
from lakehouse.services.retrieval.engine_process import EngineProcess, open_process
from lakehouse.services.retrieval.gauges import make_gauges, read_memory
from lakehouse.services.retrieval.messages import FAILED, MAX_BATCH, MAX_FRAME, Failure, RetrievalSettings
from lakehouse.telemetry.gauges import Gauge

logger = logging.getLogger("lakehouse.retrieval")

T = TypeVar("T")

RESTART_SECONDS = 1.0
NO_STATS = EngineStats(
    indexes=0,
    items=0,
    memory=0,
    searches=0,
    batches=0,
    search_seconds=0.0,
    shared_searches=0,
    written_items=0,
    keyword_lag=0,
    keyword_engine="",
    vector_engine="",
    model="",
)

_ENCODER = msgspec.msgpack.Encoder()
_FAILURES = msgspec.msgpack.Decoder(Failure)
_HITS, _MANY_HITS = msgspec.msgpack.Decoder(Hits), msgspec.msgpack.Decoder(ManyHits)


class LakeRetrieval:
    """The engine, as `open_retrieval` opens it."""

    def __init__(self, process: EngineProcess) -> None:
        self.process = process
        self.last_stats = NO_STATS
        """The figures of the last call to `stats`, for the gauges."""
        self._changes: Counter[str] = Counter()

    def gauges(self) -> Iterable[Gauge]:
        """The gauges of the engine."""
        return make_gauges(self.process, lambda: self.last_stats)

    def warm(self) -> None:
        """Start the child in the background if none runs, for a call that is expected soon."""
        self.process.warm()

    async def read_state(self, indexes: Sequence[str]) -> tuple[object, ...]:
        """The counts of changes of these indexes: nobody else writes to them. Makes no call."""
        return tuple([self._changes[index] for index in indexes])

    async def create_index(self, options: IndexOptions) -> IndexInfo:
        """Create an index. Raises ErrConflict, ErrBadRequest."""
        return await self._change(messages.CreateIndex(options=options), IndexInfo, options.name)

    async def list_indexes(self) -> Sequence[IndexInfo]:
        """List all indexes in the order of their names."""
        infos: list[IndexInfo] = await self._call(messages.ListIndexes(), list[IndexInfo])
        return infos

    async def get_index(self, index: str) -> IndexInfo:
        """Describe an index. Raises ErrNotFound."""
        info: IndexInfo = await self._call(messages.GetIndex(index=index), IndexInfo)
        return info

    async def delete_index(self, index: str) -> None:
        """Delete an index with all its items. Raises ErrNotFound."""
        await self._change(messages.DeleteIndex(index=index), None, index)

    async def add(
        self,
        index: str,
        items: Sequence[Item],
        *,
        model: str = "",
        delete_ids: Sequence[str] = (),
        source_state: bytes | None = None,
        wait_for_words: bool = False,
    ) -> Written:
        """Add and replace items, and delete others, in one transaction."""
        call = messages.Write(
            index=index,
            items=list(items),
            model=model,
            delete_ids=list(delete_ids),
            source_state=source_state or b"",
            wait_for_words=wait_for_words,
        )
        return await self._change(call, Written, index)

    async def replace_source(
        self,
        index: str,
        source: str,
        items: Sequence[Item],
        *,
        model: str = "",
        source_state: bytes | None = None,
        create: IndexOptions | None = None,
    ) -> Written:
        """Make `items` the only items of the index with this source, in one transaction, which may create the index."""
        if not source:
            raise errors.ErrBadRequest("`source` is required", field="source")
        call = messages.Write(
            index=index,
            items=list(items),
            model=model,
            replace_source=source,
            source_state=source_state or b"",
            create=create,
        )
        return await self._change(call, Written, index)

    async def delete_items(
        self, index: str, *, ids: Sequence[str] = (), where: bytes = b"", source_state: bytes | None = None
    ) -> Written:
        """Delete the items with these ids, and those that match the filter `where`."""
        call = messages.Write(index=index, delete_ids=list(ids), delete_where=where, source_state=source_state or b"")
        return await self._change(call, Written, index)

    async def merge(self, source: str, dest: str, *, clear_source: bool = False) -> Merged:
        """Copy the items that the destination lacks, in one transaction."""
        call = messages.Merge(source=source, dest=dest, clear_source=clear_source)
        return await self._change(call, Merged, source, dest)

    def leave(self) -> None:
        """End what goes on after writes whose client has left."""
        self.process.send(_ENCODER.encode(messages.Leave()))

    async def search(self, index: str, query: SearchQuery) -> Hits:
        """Search one index."""
        return _HITS.decode(await self._send(messages.Search(index=index, query=query)))

    async def search_many(self, corpora: Sequence[CorpusQuery], query: SearchQuery, *, per_corpus_k: int) -> ManyHits:
        """Search several indexes and order their results together."""
        call = messages.SearchMany(corpora=list(corpora), query=query, per_corpus_k=per_corpus_k)
        return _MANY_HITS.decode(await self._send(call))

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        """Return the items with these ids; unknown ids are left out."""
        call = messages.GetItems(index=index, ids=list(ids), with_vector=with_vector)
        found: list[StoredItem] = await self._call(call, list[StoredItem])
        return {item.id: item for item in found}

    async def list_digests(self, index: str, *, after: str = "", limit: int = 10_000) -> Sequence[Digest]:
        """List the ids and digests in the order of the ids, from the first one greater than `after`."""
        call = messages.ListDigests(index=index, after=after, limit=limit)
        digests: list[Digest] = await self._call(call, list[Digest])
        return digests

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> EmbeddedTexts:
        """Embed texts with the embedded model."""
        embedded: EmbeddedTexts = await self._call(messages.Embed(texts=list(texts), truncate=truncate), EmbeddedTexts)
        return embedded

    async def complete_options(self, options: IndexOptions) -> IndexOptions:
        """Check the options of an index that another store has, and give them their dimension."""
        completed: IndexOptions = await self._call(messages.CompleteOptions(options=options), IndexOptions)
        return completed

    async def prepare_items(self, options: IndexOptions, items: Sequence[Item], *, model: str) -> list[StoreItem]:
        """Check and analyse items for an index that another store has."""
        call = messages.PrepareItems(options=options, items=list(items), model=model)
        prepared: list[StoreItem] = await self._call(call, list[StoreItem])
        return prepared

    async def prepare_query(self, call: messages.PrepareQuery) -> messages.PreparedQuery:
        """Check and analyse a query for indexes that another store has."""
        prepared: messages.PreparedQuery = await self._call(call, messages.PreparedQuery)
        return prepared

    async def score_candidates(self, call: messages.ScoreCandidates) -> list[messages.ScoredCandidate]:
        """Score the candidates of a hybrid search in another store, the best first."""
        scored: list[messages.ScoredCandidate] = await self._call(call, list[messages.ScoredCandidate])
        return scored

    async def stats(self) -> EngineStats:
        """Return the figures of the engine, which is not started for it."""
        if self.process.pid is None:
            return self.last_stats
        stats: EngineStats = await self._call(messages.Stats(), EngineStats)
        self.last_stats = msgspec.structs.replace(stats, memory=read_memory(self.process.pid) or stats.memory)
        return self.last_stats

    async def _change(self, call: messages.AnyCall, reply: type[T] | None, *indexes: str) -> T:
        """A call that writes. It counts as a change also if it fails, because it may have been done."""
        try:
            result: T = await self._call(call, reply)
        except trio.Cancelled:
            self.leave()
            raise
        finally:
            self._changes.update(indexes)
        return result

    async def _call(self, call: messages.AnyCall, reply: Any) -> Any:  # noqa: ANN401 - the type that `reply` names
        return msgspec.msgpack.decode(await self._send(call), type=reply)

    async def _send(self, call: messages.AnyCall) -> memoryview:
        """The body of the reply. Raises the error that the child reports, ErrUnavailable, ErrTooLarge."""
        encoded = _ENCODER.encode(call)
        if len(encoded) > MAX_FRAME:
            raise errors.ErrTooLarge(f"a call to the retrieval engine has at most {MAX_FRAME} bytes")
        body = await self.process.call(encoded)
        if body.startswith(FAILED):
            raise make_error(_FAILURES.decode(memoryview(body)[1:]))
        return memoryview(body)[1:]


def make_error(failure: Failure) -> LakehouseError:
    """The error that the child has told."""
    kind: type[LakehouseError] = getattr(errors, failure.code, LakehouseError)
    field, details = failure.field or None, failure.details or None
    if kind is errors.ErrUnavailable:
        return kind(failure.message, retry_after=RESTART_SECONDS, retryable=True, field=field, details=details)
    return kind(failure.message, field=field, details=details)


@asynccontextmanager
async def open_retrieval(
    directory: LakeDirectory, *, model: str = "", model_name: str = "", max_batch: int = MAX_BATCH
) -> AsyncIterator[LakeRetrieval]:
    """Open the retrieval engine of a lake. The child starts with the first call, and has ended at the end of the block.

    `model` names the function that loads the embedded model ("package.module:function"), `model_name` is its name.
    At most `max_batch` of the calls that wait are answered together.
    """
    settings = RetrievalSettings(
        directory=str(directory.vectors), descriptor=-1, model=model, model_name=model_name, max_batch=max_batch
    )
    async with open_process(settings) as process:
        yield LakeRetrieval(process)
