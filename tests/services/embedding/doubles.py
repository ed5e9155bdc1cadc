"""Doubles of what an embedder asks: the engine with the packaged model, and the providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import trio

from lakehouse.chat.providers.model_router import ModelRouter
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure
from lakehouse.services.contracts.embedder import ModelInfo
from lakehouse.services.contracts.retrieval import EmbeddedTexts, RetrievalEngine
from lakehouse.services.embedding.embedder import ModelEmbedder, open_embedder
from lakehouse.services.embedding.listing import ModelListing
from lakehouse.services.embedding.names import MINILM, WORDLLAMA, WORDLLAMA_DIMENSION
from lakehouse.services.embedding.selection import ModelNames
from lakehouse.services.embedding.vectors import pack

LIMIT = 10
"""Characters of the longest text that a double takes as a whole."""


def vector_of(text: str, dimension: int) -> list[float]:
    """Different texts have different vectors; each number is a float32."""
    return [float(len(text)), float(sum(map(ord, text)) % 997), *[0.5] * (dimension - 2)]


@dataclass
class EngineDouble:
    """The engine: of it only `embed`. With `hold` a call waits for `release`."""

    hold: bool = False
    calls: list[list[str]] = field(default_factory=list)
    cancelled: int = 0
    release: trio.Event = field(default_factory=trio.Event)

    async def embed(self, texts: Sequence[str], *, truncate: bool = False) -> EmbeddedTexts:
        assert truncate
        self.calls.append(list(texts))
        await trio.lowlevel.checkpoint()
        if self.hold:
            try:
                await self.release.wait()
            except trio.Cancelled:
                self.cancelled += 1
                raise
        vectors = [pack(vector_of(text, WORDLLAMA_DIMENSION)) for text in texts]
        too_long = [position for position, text in enumerate(texts) if len(text) > LIMIT]
        return EmbeddedTexts(
            model=WORDLLAMA,
            dimension=WORDLLAMA_DIMENSION,
            vectors=b"".join(vectors),
            tokens=[len(text) for text in texts],
            truncated=too_long,
        )


Answer = Callable[[dict[str, Any]], object]


@dataclass
class ProvidersDouble:
    """The providers: `answers` by provider and path, after `latency` seconds; any other path does not exist."""

    latency: float = 0.0
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    cancelled: int = 0

    async def post(self, provider: str, path: str, body: bytes) -> bytes:
        document = msgspec.json.decode(body) if body else {}
        self.calls.append((provider, path, document))
        answer = self.answers.get((provider, path))
        if answer is None:
            raise failure("wrong_endpoint", 404)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await trio.sleep(self.latency)
        except trio.Cancelled:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        return msgspec.json.encode(answer(document))

    async def get(self, provider: str, path: str) -> bytes:
        return await self.post(provider, path, b"")


def failure(kind: str, status: int) -> LakehouseError:
    """What the client of the providers raises."""
    return make_failure(cast("Any", kind), f"answered {status}", provider="p", upstream_status=status)


@dataclass
class Doubles:
    """An embedder, and what it asks."""

    embedder: ModelEmbedder
    engine: EngineDouble
    providers: ProvidersDouble


@asynccontextmanager
async def open_doubles(*, cache_size: int = 100, default: str = "", latency: float = 0.0) -> AsyncIterator[Doubles]:
    """An embedder with doubles, for the block."""
    engine, providers = EngineDouble(), ProvidersDouble(latency)
    names = ModelNames(ModelRouter().target, default=default, local=[MINILM])
    listing = ModelListing(providers, names, [ModelInfo(id=WORDLLAMA, provider="embedded")])
    opened = open_embedder(
        cast("RetrievalEngine", engine), providers, names, listing, cache_size=cache_size, local_limits={MINILM: 12}
    )
    async with opened as embedder:
        yield Doubles(embedder, engine, providers)
