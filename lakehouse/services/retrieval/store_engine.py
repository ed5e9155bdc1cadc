"""The contract `services.contracts.retrieval` over a vector store that many services share.

The store keeps and finds; what needs a model, words or scores is done by the child of this service's own engine, by the
same code as for indexes in the folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from lakehouse.core.errors import ErrBadRequest, ErrConflict
from lakehouse.services.contracts.filter_language import parse_filter
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
from lakehouse.services.contracts.vector_store import StoredIndex, StoreWrite, VectorStore, make_not_found
from lakehouse.services.retrieval.client import LakeRetrieval
from lakehouse.services.retrieval.store_search import StoreSearch
from lakehouse.telemetry.gauges import Gauge


class StoreRetrieval:
    """The engine. `local` embeds, analyses and scores; its own indexes are not used."""

    def __init__(self, store: VectorStore, local: LakeRetrieval) -> None:
        self.store = store
        self._local = local
        self._search = StoreSearch(store, local)
        self._written = 0

    def gauges(self) -> Iterable[Gauge]:
        """The gauges of the child."""
        return self._local.gauges()

    def warm(self) -> None:
        """Start the child in the background if none runs, for a call that is expected soon."""
        self._local.warm()

    async def read_state(self, indexes: Sequence[str]) -> tuple[object, ...]:
        """The versions of these indexes, whichever service has written them: one request to the store."""
        found = {one.options.name: (one.identity, one.version) for one in await self.store.find_indexes(indexes)}
        return tuple([found.get(index) for index in indexes])

    async def create_index(self, options: IndexOptions) -> IndexInfo:
        """Create an index. Raises ErrConflict, ErrBadRequest."""
        return describe(await self.store.create_index(await self._local.complete_options(options)))

    async def list_indexes(self) -> Sequence[IndexInfo]:
        """List all indexes in the order of their names."""
        return [describe(found) for found in await self.store.find_indexes()]

    async def get_index(self, index: str) -> IndexInfo:
        """Describe an index. Raises ErrNotFound."""
        return describe(await self._find(index))

    async def delete_index(self, index: str) -> None:
        """Delete an index with all its items. Raises ErrNotFound."""
        await self.store.delete_index(index)

    async def add(
        self,
        index: str,
        items: Sequence[Item],
        *,
        model: str = "",
        delete_ids: Sequence[str] = (),
        source_state: bytes | None = None,
        wait_for_words: bool = False,  # noqa: ARG002 - searches by words find what is written at once
    ) -> Written:
        """Add and replace items, and delete others, in one transaction."""
        options = (await self._find(index)).options
        write = StoreWrite(index=index, options=options, delete_ids=delete_ids, source_state=source_state or b"")
        return await self._write(write, items, model)

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
            raise ErrBadRequest("`source` is required", field="source")
        options, missing = await self._find_options(index, create)
        write = StoreWrite(
            index=index,
            options=options,
            replace_source=source,
            source_state=source_state or b"",
            create=missing,
        )
        return await self._write(write, items, model)

    async def delete_items(
        self, index: str, *, ids: Sequence[str] = (), where: bytes = b"", source_state: bytes | None = None
    ) -> Written:
        """Delete the items with these ids, and those that match the filter `where`."""
        wanted = parse_filter(where)
        options = (await self._find(index)).options
        write = StoreWrite(
            index=index, options=options, delete_ids=ids, delete_where=wanted, source_state=source_state or b""
        )
        return await self.store.write(write)

    async def merge(self, source: str, dest: str, *, clear_source: bool = False) -> Merged:
        """Copy the items that the destination lacks, in one transaction."""
        ours, theirs = (await self._find(source)).options, (await self._find(dest)).options
        if source == dest:
            raise ErrBadRequest("`dest` must be another index than the source", field="dest")
        for name in ("dimension", "model"):
            of_source, of_dest = getattr(ours, name), getattr(theirs, name)
            if of_source != of_dest:
                message = f"`dest` has the {name} {of_dest!r}, and the source {of_source!r}"
                raise ErrBadRequest(message, field="dest")
        return await self.store.merge(source, dest, clear_source=clear_source)

    def leave(self) -> None:
        """Nothing goes on here after a write."""

    async def search(self, index: str, query: SearchQuery) -> Hits:
        """Search one index."""
        return await self._search.search(index, query)

    async def search_many(self, corpora: Sequence[CorpusQuery], query: SearchQuery, *, per_corpus_k: int) -> ManyHits:
        """Search several indexes and order their results together."""
        return await self._search.search_many(corpora, query, per_corpus_k=per_corpus_k)

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        """Return the items with these ids; unknown ids are left out."""
        return await self.store.get_items(index, ids, with_vector=with_vector)

    async def list_digests(self, index: str, *, after: str = "", limit: int = 10_000) -> Sequence[Digest]:
        """List the ids and digests in the order of the ids, from the first one greater than `after`."""
        return await self.store.list_digests(index, after=after, limit=limit)

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> EmbeddedTexts:
        """Embed texts with the embedded model."""
        return await self._local.embed(texts, truncate=truncate)

    async def stats(self) -> EngineStats:
        """The figures of this service, with the indexes and items of the store."""
        found = await self.store.find_indexes()
        return msgspec.structs.replace(
            await self._local.stats(),
            indexes=len(found),
            items=sum(one.length for one in found),
            searches=self._search.searches,
            batches=self._search.searches,
            search_seconds=self._search.seconds,
            written_items=self._written,
            keyword_lag=0,
            keyword_engine=self.store.name,
            vector_engine=self.store.name,
        )

    async def _find(self, index: str) -> StoredIndex:
        found = await self.store.find_indexes([index])
        if not found:
            raise make_not_found(index)
        return found[0]

    async def _find_options(self, index: str, create: IndexOptions | None) -> tuple[IndexOptions, bool]:
        """The options of an index, those of `create` if it is missing, and whether it is."""
        found = await self.store.find_indexes([index])
        if not found:
            if create is None:
                raise make_not_found(index)
            return await self._local.complete_options(create), True
        options = found[0].options
        if create is not None and create.model != options.model:
            raise ErrConflict(
                f"the vectors are of the model {create.model!r}, and those of the index {index!r} of {options.model!r}",
                field="model",
            )
        return options, False

    async def _write(self, write: StoreWrite, items: Sequence[Item], model: str) -> Written:
        prepared = await self._local.prepare_items(write.options, items, model=model)
        written = await self.store.write(msgspec.structs.replace(write, items=prepared))
        self._written += len(prepared)
        return written


def describe(found: StoredIndex) -> IndexInfo:
    """An index of the store as services know it. Its memory is the server's."""
    options = found.options
    return IndexInfo(
        name=options.name,
        dimension=options.dimension,
        distance=options.distance,
        model=options.model,
        keyword=options.keyword,
        fields=options.fields,
        approximate=options.approximate,
        length=found.length,
        version=found.version,
        keyword_lag=0,
        memory=0,
        created_ms=found.created_ms,
        exact=found.exact,
        recall=found.recall,
        source=found.source,
    )
