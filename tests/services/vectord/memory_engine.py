"""An engine and an embedder in memory, for tests of what vectord itself does: they count their calls and can be held."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import trio

from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound, ErrUnprocessable
from lakehouse.services.contracts.embedder import Embeddings, TextKind
from lakehouse.services.contracts.retrieval import (
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
    """The part of the contract that the tests use. `writes` has the arguments of the writes."""

    def __init__(self) -> None:
        self.indexes: dict[str, MemoryIndex] = {}
        self.counts: Counter[str] = Counter()
        self.writes: list[tuple[list[str], list[str]]] = []
        self.fail_after: int | None = None
        """Writes after which the next one fails."""

    def _find(self, name: str) -> MemoryIndex:
        if name not in self.indexes:
            raise ErrNotFound(f"there is no index {name!r}")
        return self.indexes[name]

    def changes(self, index: str) -> int:
        """The writes to an index."""
        return self.counts[index]

    async def create_index(self, options: IndexOptions) -> IndexInfo:
        await trio.lowlevel.checkpoint()
        if options.name in self.indexes:
            raise ErrConflict(f"there is an index {options.name!r} already", field="name")
        dimension = options.dimension or len(letters("")) // 4
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
            vector = item.vector or letters(item.text or "")
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
        self, index: str, source: str, items: Sequence[Item], *, model: str = "", source_state: bytes | None = None
    ) -> Written:
        raise NotImplementedError

    async def delete_items(
        self, index: str, *, ids: Sequence[str] = (), where: bytes = b"", source_state: bytes | None = None
    ) -> Written:
        assert not where
        return await self.add(index, (), delete_ids=ids, source_state=source_state)

    async def merge(self, source: str, dest: str, *, clear_source: bool = False) -> Merged:
        raise NotImplementedError

    async def search(self, index: str, query: SearchQuery) -> Hits:
        await trio.lowlevel.checkpoint()
        found = self._find(index)
        if query.model and query.model != found.options.model:
            raise ErrConflict(f"the index is of the model {found.options.model!r}")
        wanted = array("f", query.vector or letters(query.text))
        scored = sorted((1 - _cosine(wanted, array("f", item.vector)), item.id) for item in found.items.values())
        hits = [Hit(id=id_, distance=distance, text=found.items[id_].text) for distance, id_ in scored[: query.k]]
        return Hits(
            results=msgspec.json.encode(hits), count=len(hits), version=found.version, model=found.options.model
        )

    async def search_many(self, corpora: Sequence[CorpusQuery], query: SearchQuery, *, per_corpus_k: int) -> ManyHits:
        raise NotImplementedError

    async def get_items(self, index: str, ids: Sequence[str], *, with_vector: bool = False) -> Mapping[str, StoredItem]:
        raise NotImplementedError

    async def list_digests(self, index: str, *, after: str = "", limit: int = 10_000) -> Sequence[Digest]:
        await trio.lowlevel.checkpoint()
        items = self._find(index).items
        return [Digest(id_, items[id_].digest) for id_ in sorted(items) if id_ > after][:limit]

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> EmbeddedTexts:
        raise NotImplementedError

    async def stats(self) -> EngineStats:
        raise NotImplementedError


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))


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
