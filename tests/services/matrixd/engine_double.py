"""An engine of indexes in memory, by the contract of retrieval, for what the real one does not do on demand: failures,
slow corpora, and indexes of any model.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound, LakehouseError
from lakehouse.services.contracts.embedder import Embeddings, TextKind
from lakehouse.services.contracts.retrieval import (
    CorpusFailure,
    CorpusQuery,
    Hit,
    Hits,
    IndexInfo,
    IndexOptions,
    Item,
    ManyHits,
    SearchQuery,
    StoredItem,
    Written,
)

EMBEDDED = "embedded-3"


def embed_text(text: str) -> bytes:
    """Three numbers: how often the letters a, b and c occur, and a little of everything."""
    return pack(*(text.count(letter) + 0.01 for letter in "abc"))


def pack(*numbers: float) -> bytes:
    """A vector as the contract has it."""
    return array("f", numbers).tobytes()


def measure_distance(one: bytes, other: bytes) -> float:
    """1 - cosine."""
    first, second = array("f", one), array("f", other)
    product = sum(a * b for a, b in zip(first, second, strict=True))
    return 1 - product / (math.hypot(*first) * math.hypot(*second))


@dataclass
class EngineDouble:
    """Indexes in memory. A corpus in `failures` fails, one in `delays` takes that many seconds."""

    indexes: dict[str, IndexOptions] = field(default_factory=dict)
    items: dict[str, dict[str, Item]] = field(default_factory=dict)
    failures: dict[str, LakehouseError] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    searches: int = 0
    cancelled: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def changes(self, index: str) -> int:
        return self.counts.get(index, 0)

    async def create_index(self, options: IndexOptions) -> IndexInfo:
        await trio.lowlevel.checkpoint()
        if options.name in self.indexes:
            raise ErrConflict(f"the index {options.name!r} exists already")
        self.indexes[options.name], self.items[options.name] = options, {}
        self.counts[options.name] = self.changes(options.name) + 1
        return await self.get_index(options.name)

    async def list_indexes(self) -> Sequence[IndexInfo]:
        return [await self.get_index(name) for name in sorted(self.indexes)]

    async def get_index(self, index: str) -> IndexInfo:
        await trio.lowlevel.checkpoint()
        options = self._find(index)
        return IndexInfo(
            name=index,
            dimension=options.dimension,
            distance=options.distance,
            model=options.model,
            keyword=options.keyword,
            fields=options.fields,
            approximate=False,
            length=len(self.items[index]),
            version=self.changes(index),
            keyword_lag=0,
            memory=0,
            created_ms=0,
        )

    async def add(self, index: str, items: Sequence[Item], *, model: str = "") -> Written:
        await trio.lowlevel.checkpoint()
        if self._find(index).model != model:
            raise ErrConflict(f"the index {index!r} is of another model")
        for item in items:
            vector = item.vector or embed_text(item.text or "")
            self.items[index][item.id] = msgspec.structs.replace(item, vector=vector)
        self.counts[index] = self.changes(index) + 1
        return Written(added=len(items), length=len(self.items[index]), version=self.changes(index))

    async def search(self, index: str, query: SearchQuery) -> Hits:
        hits = await self._search(index, query, query.vector)
        return Hits(results=msgspec.json.encode(hits[: query.k]), count=len(hits[: query.k]), version=1)

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

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        await trio.lowlevel.checkpoint()
        self._find(index)
        stored = self.items[index]
        return {
            key: StoredItem(id=key, text=stored[key].text, metadata=stored[key].metadata)
            for key in ids
            if key in stored
        }

    def _find(self, index: str) -> IndexOptions:
        if index not in self.indexes:
            raise ErrNotFound(f"there is no index {index!r}")
        return self.indexes[index]

    async def _search(self, index: str, query: SearchQuery, vector: bytes) -> list[Hit]:
        self.searches += 1
        try:
            await trio.sleep(self.delays.get(index, 0))
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if index in self.failures:
            raise self.failures[index]
        options = self._find(index)
        if query.model and options.model and query.model != options.model:
            raise ErrConflict(f"the index {index!r} is of another model")
        vector = vector or embed_text(query.text)
        if options.dimension and len(vector) != options.dimension * 4:
            raise ErrBadRequest(f"the index {index!r} has {options.dimension} dimensions", field="vector")
        hits = []
        for item in self.items[index].values():
            distance = measure_distance(vector, item.vector)
            hit = Hit(id=item.id, distance=distance, score=None if query.mode == "vector" else 1 - distance)
            if query.with_metadata and item.metadata:
                hit = msgspec.structs.replace(hit, metadata=msgspec.Raw(item.metadata))
            hits.append(msgspec.structs.replace(hit, text=item.text) if query.with_text else hit)
        return sorted(hits, key=lambda hit: hit.distance or 0.0)


@dataclass
class EmbedderDouble:
    """Vectors of three numbers for every model but `failing`."""

    failing: dict[str, LakehouseError] = field(default_factory=dict)
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    async def embed(
        self, texts: Sequence[str], *, model: str = "", kind: TextKind = "document", truncate: bool = False
    ) -> Embeddings:
        await trio.lowlevel.checkpoint()
        self.calls.append((model, tuple(texts)))
        if model in self.failing:
            raise self.failing[model]
        return Embeddings(model=model, dimension=3, vectors=b"".join(map(embed_text, texts)))
