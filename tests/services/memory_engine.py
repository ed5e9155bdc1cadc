"""An engine and an embedder in memory, by the contracts, for what the real ones do not do on demand: they count their
calls, fail, wait, and have indexes of any model.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound, ErrUnprocessable, LakehouseError
from lakehouse.services.contracts.embedder import Embeddings, TextKind
from lakehouse.services.contracts.retrieval import (
    CorpusFailure,
    CorpusQuery,
    Digest,
    EmbeddedTexts,
    EngineStats,
    Hit,
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

EMBEDDED = "words"
"""The model that the engine has."""


def letters(text: str) -> bytes:
    """A vector of a text: how often it has each of eight letters, and one component more."""
    return array("f", [*(float(text.count(letter)) for letter in "etaoinsr"), 1.0]).tobytes()


@dataclass
class MemoryIndex:
    """An index: its options, and its items."""

    options: IndexOptions
    items: dict[str, Item] = field(default_factory=dict)
    version: int = 0
    source: bytes = b""

    def info(self) -> IndexInfo:
        """What the engine says about it."""
        values = {name: getattr(self.options, name) for name in self.options.__struct_fields__}
        return IndexInfo(
            **values,
            length=len(self.items),
            version=self.version,
            keyword_lag=0,
            memory=0,
            created_ms=0,
            source=self.source,
        )


class MemoryEngine:
    """The part of the contract that the tests use. `writes` has the arguments of the writes.

    `embed_text` is its model, of the name `model`. A search of an index in `failures` fails, one in `delays` takes that many seconds.
    """

    def __init__(self, embed_text: Callable[[str], bytes] = letters, *, model: str = EMBEDDED) -> None:
        self._embed_text = embed_text
        self._model = model
        self.indexes: dict[str, MemoryIndex] = {}
        self.counts: Counter[str] = Counter()
        self.writes: list[tuple[list[str], list[str]]] = []
        self.fail_after: int | None = None
        """Writes after which the next one fails."""
        self.failures: dict[str, LakehouseError] = {}
        self.delays: dict[str, float] = {}
        self.searches = self.cancelled = self.left = 0

    def _find(self, name: str) -> MemoryIndex:
        if name not in self.indexes:
            raise ErrNotFound(f"there is no index {name!r}")
        return self.indexes[name]

    async def read_state(self, indexes: Sequence[str]) -> tuple[object, ...]:
        """The writes to indexes."""
        return tuple([self.counts[index] for index in indexes])

    async def create_index(self, options: IndexOptions) -> IndexInfo:
        await trio.lowlevel.checkpoint()
        if options.name in self.indexes:
            raise ErrConflict(f"there is an index {options.name!r} already", field="name")
        dimension = options.dimension or len(self._embed_text("")) // 4
        self.counts[options.name] += 1
        self.indexes[options.name] = MemoryIndex(msgspec.structs.replace(options, dimension=dimension))
        return self.indexes[options.name].info()

    async def list_indexes(self) -> Sequence[IndexInfo]:
        await trio.lowlevel.checkpoint()
        return [index.info() for _, index in sorted(self.indexes.items())]

    async def get_index(self, index: str) -> IndexInfo:
        await trio.lowlevel.checkpoint()
        return self._find(index).info()

    async def delete_index(self, index: str) -> None:
        await trio.lowlevel.checkpoint()
        self._find(index)
        del self.indexes[index]
        self.counts[index] += 1

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
        await trio.lowlevel.checkpoint()
        if self.fail_after is not None and len(self.writes) >= self.fail_after:
            raise ErrUnprocessable("this write fails")
        self.writes.append(([item.id for item in items], list(delete_ids)))
        found = self._find(index)
        if model and model != found.options.model:
            raise ErrConflict(f"the index is of the model {found.options.model!r}")
        deleted = sum(found.items.pop(each, None) is not None for each in delete_ids)
        before = len(found.items)
        for item in items:
            if not item.vector and found.options.model != self._model:
                raise ErrBadRequest("the engine does not embed texts with this model", field="vector")
            vector = item.vector or self._embed_text(item.text or "")
            if len(vector) != found.options.dimension * 4:
                raise ErrBadRequest("another dimension", field="vector")
            found.items[item.id] = msgspec.structs.replace(item, vector=vector)
        found.version += 1
        self.counts[index] += 1
        found.source = found.source if source_state is None else source_state
        added = len(found.items) - before
        return Written(
            added=added,
            replaced=len({item.id for item in items}) - added,
            deleted=deleted,
            length=len(found.items),
            version=found.version,
        )

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
        raise NotImplementedError

    async def delete_items(
        self, index: str, *, ids: Sequence[str] = (), where: bytes = b"", source_state: bytes | None = None
    ) -> Written:
        assert not where
        return await self.add(index, (), delete_ids=ids, source_state=source_state)

    async def merge(self, source: str, dest: str, *, clear_source: bool = False) -> Merged:
        raise NotImplementedError

    def leave(self) -> None:
        self.left += 1

    async def search(self, index: str, query: SearchQuery) -> Hits:
        hits = (await self._search(index, query, query.vector))[: query.k]
        found = self._find(index)
        return Hits(
            results=msgspec.json.encode(hits), count=len(hits), version=found.version, model=found.options.model
        )

    async def search_many(self, corpora: Sequence[CorpusQuery], query: SearchQuery, *, per_corpus_k: int) -> ManyHits:
        hits: list[Hit] = []
        counts: dict[str, int] = {}
        failed: dict[str, CorpusFailure] = {}
        for corpus in corpora:
            try:
                part = await self._search(corpus.index, query, corpus.vector or query.vector)
            except LakehouseError as error:
                failed[corpus.index] = CorpusFailure(code=error.code, message=error.message)
            else:
                counts[corpus.index] = len(part[:per_corpus_k])
                hits += [msgspec.structs.replace(hit, corpus=corpus.index) for hit in part[:per_corpus_k]]
        hits.sort(key=lambda hit: hit.distance or 0.0)
        results = msgspec.json.encode(hits[: query.k])
        return ManyHits(results=results, count=len(hits[: query.k]), per_corpus=counts, failed=failed)

    async def _search(self, index: str, query: SearchQuery, vector: bytes) -> list[Hit]:
        self.searches += 1
        try:
            await trio.sleep(self.delays.get(index, 0))
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if index in self.failures:
            raise self.failures[index]
        found = self._find(index)
        if query.model and found.options.model and query.model != found.options.model:
            raise ErrConflict(f"the index {index!r} is of another model")
        wanted = vector or self._embed_text(query.text)
        if len(wanted) != found.options.dimension * 4:
            raise ErrBadRequest(f"the index {index!r} has {found.options.dimension} dimensions", field="vector")
        hits = []
        for item in found.items.values():
            distance = measure_distance(wanted, item.vector)
            hit = Hit(id=item.id, distance=distance, score=None if query.mode == "vector" else 1 - distance)
            if query.with_metadata and item.metadata:
                hit = msgspec.structs.replace(hit, metadata=msgspec.Raw(item.metadata))
            hits.append(msgspec.structs.replace(hit, text=item.text) if query.with_text else hit)
        return sorted(hits, key=lambda hit: hit.distance or 0.0)

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        await trio.lowlevel.checkpoint()
        stored = self._find(index).items
        return {
            key: StoredItem(id=key, text=stored[key].text, metadata=stored[key].metadata)
            for key in ids
            if key in stored
        }

    async def list_digests(self, index: str, *, after: str = "", limit: int = 10_000) -> Sequence[Digest]:
        await trio.lowlevel.checkpoint()
        items = self._find(index).items
        return [Digest(id_, items[id_].digest) for id_ in sorted(items) if id_ > after][:limit]

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> EmbeddedTexts:
        raise NotImplementedError

    async def stats(self) -> EngineStats:
        raise NotImplementedError


def measure_distance(one: bytes, other: bytes) -> float:
    """1 - cosine."""
    first, second = array("f", one), array("f", other)
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return 1 - product / (math.hypot(*first) * math.hypot(*second))


class MemoryEmbedder:
    """Embeds by letters. `calls` are the texts of each call; a text with "too long" is; `gate` holds each call."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = trio.Event()
        self.gate.set()

    def resolve(self, model: str) -> str:
        """The names are as they are given."""
        return model or EMBEDDED

    async def embed(
        self, texts: Sequence[str], *, model: str = "", kind: TextKind = "document", truncate: bool = False
    ) -> Embeddings:
        self.calls.append(list(texts))
        await self.gate.wait()
        for place, text in enumerate(texts):
            if "too long" in text and not truncate:
                raise ErrUnprocessable(f"text {place} is too long", details={"item": place})
        vectors = b"".join(map(letters, texts))
        return Embeddings(model=model, dimension=len(letters("")) // 4, vectors=vectors)
