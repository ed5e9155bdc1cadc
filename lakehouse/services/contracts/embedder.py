"""The contract of an embedder: vectors of texts, from whichever model the name selects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

TextKind = Literal["query", "document"]
"""What a text is used for: some models embed a question and a passage differently."""

Semantic = Literal["words", "sentences"]
"""What a model compares: the words of texts, whatever their order, or what sentences say."""


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors of some texts in their order, and the model that computed them.

    `vectors` is float32, little endian, one vector after the other. `tokens` is None if the model does not count;
    `cached` is the number of texts whose vectors were known; `truncated` has the positions of the texts that were cut.
    """

    model: str
    dimension: int
    vectors: bytes
    semantic: Semantic = "sentences"
    tokens: int | None = None
    cached: int = 0
    truncated: list[int] = []

    def split(self) -> list[bytes]:
        """The vector of each text; there is at least one."""
        size = self.dimension * 4  # bytes of a float32
        return [self.vectors[begin : begin + size] for begin in range(0, len(self.vectors), size)]


class Embedder(Protocol):
    """Computes vectors of texts."""

    async def embed(
        self, texts: Sequence[str], *, model: str = "", kind: TextKind = "document", truncate: bool = False
    ) -> Embeddings:
        """Embed texts with a model; an empty name selects the default model.

        Raises ErrProviderNotFound for a provider that is not registered, ErrUpstream for an unknown model or a failing
        provider, ErrUnprocessable with the position of a text that is too long, unless `truncate` is set.
        """


class NamedEmbedder(Embedder, Protocol):
    """An embedder that knows the names of its models."""

    def resolve(self, model: str) -> str:
        """The name of the model in answers and indexes; an empty name is the default model's. Raises ErrBadRequest."""


class EmbeddedJson(msgspec.Struct, frozen=True, kw_only=True):
    """`Embeddings` with each vector as a JSON array, ready for a response."""

    model: str
    dimension: int
    vectors: list[bytes]
    semantic: Semantic
    tokens: int | None = None
    cached: int = 0
    truncated: list[int] = []


class Relevance(msgspec.Struct, frozen=True, kw_only=True):
    """The relevance of one document to a query; a greater score is better."""

    index: int
    relevance_score: float


class Reranking(msgspec.Struct, frozen=True, kw_only=True):
    """The documents in the order of their relevance. `method`: "cosine" of embeddings, or the "model" of a provider."""

    model: str
    method: Literal["cosine", "model"]
    results: list[Relevance]
    tokens: int | None = None


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """The cache of embeddings since the start: texts found and not found, and the texts in it."""

    hits: int
    misses: int
    hit_rate: float
    size: int


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An embedding model. `dimension` and `max_tokens` are None if only the provider knows them.

    `dimensions` are those to which its vectors can be cut. `missing` says what an unavailable model needs.
    """

    id: str
    provider: str
    default: bool = False
    available: bool = True
    dimension: int | None = None
    dimensions: tuple[int, ...] = ()
    max_tokens: int | None = None
    semantic: Semantic = "sentences"
    missing: str = ""


class EmbeddingService(NamedEmbedder, Protocol):
    """An embedder with what its HTTP interface needs beside vectors. `dimension` 0 is the model's own."""

    async def embed_json(
        self,
        texts: Sequence[str],
        *,
        model: str = "",
        truncate: bool = False,
        dimension: int = 0,
    ) -> EmbeddedJson:
        """`embed` with vectors as JSON. Raises ErrBadRequest for a dimension that the model does not offer."""

    async def embed_dimension(
        self, texts: Sequence[str], *, model: str = "", truncate: bool = False, dimension: int = 0
    ) -> Embeddings:
        """`embed` with a dimension."""

    async def rerank(self, query: str, documents: Sequence[str], *, model: str = "", top_n: int = 0) -> Reranking:
        """Order documents by their relevance to a query; `top_n` 0 is all of them."""

    async def list_models(self) -> list[ModelInfo]:
        """List the embedded models, and those of a local Ollama that answers."""

    def stats(self) -> CacheStats:
        """Return the figures of the cache."""


class ProviderClient(Protocol):
    """Sends requests to the providers of the configuration, and to the embedded model servers.

    Keys are added where they are known, which is not this process under a gateway.
    """

    async def post(self, provider: str, path: str, body: bytes) -> bytes:
        """POST a JSON body to a path of a provider, and return the body of its answer (at most 256 MiB).

        Raises ErrProviderNotFound, and the `LakehouseError` that another status than 200 means, with its class.
        """

    async def get(self, provider: str, path: str) -> bytes:
        """GET a path of a provider. Raises what `post` raises."""
