"""The embedder: a model by its name, the cache in front of it, and one deadline for a whole batch.

texts ─ cache ─ missing texts ─ Lane (one a model) ─┬─ the engine of retrieval: the packaged model
                                                    ├─ llama.cpp: a GGUF file
                                                    ├─ Ollama
                                                    └─ a provider in OpenAI's form
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from lakehouse.core.errors import ErrTimeout, ErrUnprocessable
from lakehouse.process.tasks import open_background
from lakehouse.services.contracts.embedder import (
    CacheStats,
    EmbeddedJson,
    Embeddings,
    ModelInfo,
    ProviderClient,
    Relevance,
    Reranking,
    Semantic,
    TextKind,
)
from lakehouse.services.contracts.retrieval import RetrievalEngine
from lakehouse.services.embedding.backends import Backend, Outcome, TooLong
from lakehouse.services.embedding.batching import Lane
from lakehouse.services.embedding.cache import Embedded, EmbeddingCache, Key, make_key
from lakehouse.services.embedding.checks import check_dimensions, check_texts, have_other_dimensions, wrong_dimension
from lakehouse.services.embedding.gauges import EmbedderCounts, embedder_gauges
from lakehouse.services.embedding.listing import ModelListing
from lakehouse.services.embedding.local_server import LocalBackend, read_meta
from lakehouse.services.embedding.names import WORDLLAMA_DIMENSION, WORDLLAMA_DIMENSIONS
from lakehouse.services.embedding.ollama import OllamaBackend, Servers
from lakehouse.services.embedding.openai import OpenAIBackend
from lakehouse.services.embedding.openai import rerank as rerank_by_provider
from lakehouse.services.embedding.packaged import PackagedBackend
from lakehouse.services.embedding.selection import ModelNames, Selection
from lakehouse.services.embedding.vectors import FLOAT_SIZE, cosine
from lakehouse.telemetry.gauges import Gauge

TIMEOUT = 60.0
"""Seconds for a whole batch, however many texts and calls it has."""
SLICE = 32
"""Vectors that are encoded or compared in one step, in 2 to 6 ms."""


class Found(NamedTuple):
    """The vectors of the texts of one request, with their keys in the cache."""

    selection: Selection
    keys: list[Key]
    entries: list[Embedded]
    cached: int

    @property
    def dimension(self) -> int:
        return len(self.entries[0].vector) // FLOAT_SIZE if self.entries else 0

    @property
    def tokens(self) -> int | None:
        counts = [entry.tokens for entry in self.entries]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def semantic(self) -> Semantic:
        return "words" if self.selection.kind == "packaged" else "sentences"

    @property
    def truncated(self) -> list[int]:
        return [position for position, entry in enumerate(self.entries) if entry.truncated]


class ModelEmbedder:
    """Implements `EmbeddingService`. Made by `open_embedder`."""

    def __init__(
        self,
        engine: RetrievalEngine,
        client: ProviderClient,
        names: ModelNames,
        listing: ModelListing,
        nursery: trio.Nursery,
        *,
        cache_size: int,
        local_limits: Mapping[str, int],
    ) -> None:
        self._engine = engine
        self._client = client
        self._names = names
        self._listing = listing
        self._nursery = nursery
        self._cache = EmbeddingCache(cache_size)
        self._local_limits = local_limits
        self._lanes: dict[tuple[str, bool], Lane] = {}
        self._servers = Servers()
        self._counts = EmbedderCounts()

    def resolve(self, model: str) -> str:
        """Implements `EmbeddingService`."""
        return self._names.select(model).name

    async def embed(
        self,
        texts: Sequence[str],
        *,
        model: str = "",
        kind: TextKind = "document",  # noqa: ARG002
        truncate: bool = False,
    ) -> Embeddings:
        """Implements `Embedder`. No model here embeds a question in another way than a passage."""
        return await self.embed_dimension(texts, model=model, truncate=truncate)

    async def embed_dimension(
        self, texts: Sequence[str], *, model: str = "", truncate: bool = False, dimension: int = 0
    ) -> Embeddings:
        """Implements `EmbeddingService`."""
        found = await self._find(texts, model, truncate=truncate, dimension=dimension)
        return Embeddings(
            model=found.selection.name,
            dimension=found.dimension,
            vectors=b"".join([entry.vector for entry in found.entries]),
            semantic=found.semantic,
            tokens=found.tokens,
            cached=found.cached,
            truncated=found.truncated,
        )

    async def embed_json(
        self,
        texts: Sequence[str],
        *,
        model: str = "",
        truncate: bool = False,
        dimension: int = 0,
    ) -> EmbeddedJson:
        """Implements `EmbeddingService`."""
        found = await self._find(texts, model, truncate=truncate, dimension=dimension)
        return EmbeddedJson(
            model=found.selection.name,
            dimension=found.dimension,
            vectors=await self._encode(found),
            semantic=found.semantic,
            tokens=found.tokens,
            cached=found.cached,
            truncated=found.truncated,
        )

    async def _encode(self, found: Found) -> list[bytes]:
        encoded: list[bytes] = []
        for key, entry in zip(found.keys, found.entries, strict=True):
            encoded.append(self._cache.encode(key, entry))
            await _let_others_run(len(encoded))
        return encoded

    async def rerank(self, query: str, documents: Sequence[str], *, model: str = "", top_n: int = 0) -> Reranking:
        """Implements `EmbeddingService`: a provider's own method, or the cosine of embeddings."""
        count = min(top_n or len(documents), len(documents))
        selection = self._names.select(model)
        if selection.kind == "openai":
            with trio.move_on_after(TIMEOUT):
                return await rerank_by_provider(
                    self._client, selection.provider, selection.model, query, documents, count
                )
            raise self._too_late(selection)
        found = await self._find([query, *documents], model, truncate=True)
        question, *vectors = (entry.vector for entry in found.entries)
        scores: list[float] = []
        for vector in vectors:
            scores.append(cosine(question, vector))
            await _let_others_run(len(scores))
        order = sorted(range(len(documents)), key=lambda index: -scores[index])[:count]
        return Reranking(
            model=selection.name,
            method="cosine",
            results=[Relevance(index=index, relevance_score=scores[index]) for index in order],
            tokens=found.tokens,
        )

    async def list_models(self) -> list[ModelInfo]:
        """Implements `EmbeddingService`."""
        return await self._listing.list_models()

    def stats(self) -> CacheStats:
        """Implements `EmbeddingService`."""
        return self._cache.stats()

    def gauges(self) -> Iterable[Gauge]:
        """The figures of the cache, and of the calls to models."""
        return embedder_gauges(self._cache, self._counts, lambda: sum(lane.waiting for lane in self._lanes.values()))

    async def _find(self, texts: Sequence[str], model: str, *, truncate: bool, dimension: int = 0) -> Found:
        """The vectors of texts, from the cache or the model. Raises LakehouseError."""
        selection = self._names.select(model)
        check_texts(texts)
        variant = f"{selection.name}@{dimension}"  # also where it is 0: the name of a model may end like that
        keys = [make_key(variant, text) for text in texts]
        found = await self._look_up(selection, texts, keys, truncate=truncate, dimension=dimension)
        if found.cached and have_other_dimensions(found.entries):  # the provider has another model of the same name
            self._cache.forget(keys)
            found = await self._look_up(selection, texts, keys, truncate=truncate, dimension=dimension)
        check_dimensions(found.entries, selection)
        return found

    async def _look_up(
        self, selection: Selection, texts: Sequence[str], keys: list[Key], *, truncate: bool, dimension: int
    ) -> Found:
        known = [self._cache.get(key, truncate=truncate) for key in keys]
        missing = [text for text, entry in zip(texts, known, strict=True) if entry is None]
        if not missing:
            return Found(selection, keys, [entry for entry in known if entry is not None], len(texts))
        outcomes = await self._ask(selection, missing, truncate=truncate, dimension=dimension)
        too_long: ErrUnprocessable | None = None
        entries: list[Embedded] = []
        for position, (key, text, entry) in enumerate(zip(keys, texts, known, strict=True)):
            outcome = entry or outcomes[text]
            if isinstance(outcome, TooLong):
                too_long = too_long or outcome.error(selection.name, position)
                continue
            if entry is None:
                self._cache.put(key, outcome)
            entries.append(outcome)
        if too_long is not None:
            raise too_long
        return Found(selection, keys, entries, len(texts) - len(missing))

    async def _ask(
        self, selection: Selection, texts: Sequence[str], *, truncate: bool, dimension: int
    ) -> Mapping[str, Outcome]:
        """Ask the model for the texts, within the deadline of the batch."""
        with trio.move_on_after(TIMEOUT):
            place = (f"{selection.name}@{dimension}", truncate)
            lane = self._lanes.get(place)
            if lane is None:
                backend = await self._make_backend(selection, dimension)
                lane = self._lanes.setdefault(place, self._make_lane(place, backend))
            return await lane.embed(texts)
        raise self._too_late(selection)

    def _make_lane(self, place: tuple[str, bool], backend: Backend) -> Lane:
        def drop() -> None:
            self._lanes.pop(place, None)

        return Lane(backend, self._nursery, truncate=place[1], on_call=self._counts.count_call, on_idle=drop)

    async def _make_backend(self, selection: Selection, dimension: int) -> Backend:
        if selection.kind == "packaged":
            if dimension and dimension not in WORDLLAMA_DIMENSIONS:
                raise wrong_dimension(selection, ", ".join(map(str, WORDLLAMA_DIMENSIONS)))
            return PackagedBackend(self._engine, dimension or WORDLLAMA_DIMENSION)
        if selection.kind == "ollama":
            return OllamaBackend(self._client, self._servers, selection.provider, selection.model, dimension)
        if selection.kind == "openai":
            return OpenAIBackend(self._client, selection.provider, selection.model, dimension)
        meta = await read_meta(self._client, selection.model)
        if dimension not in (0, meta.n_embd):
            raise wrong_dimension(selection, str(meta.n_embd))
        return LocalBackend(
            self._client, selection.model, limit=min(self._local_limits[selection.model], meta.n_ctx_train)
        )

    def _too_late(self, selection: Selection) -> ErrTimeout:
        return ErrTimeout(
            f"the model {selection.name} did not embed the batch within {TIMEOUT:g} s: send fewer texts at a time",
            provider=selection.provider or None,
            error_class="timeout",
            retryable=True,
        )


async def _let_others_run(done: int) -> None:
    """Give way to other tasks after each slice of the vectors of a large batch."""
    if done % SLICE == 0:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_embedder(
    engine: RetrievalEngine,
    client: ProviderClient,
    names: ModelNames,
    listing: ModelListing,
    *,
    cache_size: int,
    local_limits: Mapping[str, int],
) -> AsyncIterator[ModelEmbedder]:
    """The embedder for the length of the block; its calls end with it.

    `local_limits` has the models of GGUF files, and the tokens that a text of each may have.
    """
    async with open_background() as nursery:
        yield ModelEmbedder(engine, client, names, listing, nursery, cache_size=cache_size, local_limits=local_limits)
