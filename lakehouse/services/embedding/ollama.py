"""Ollama's embeddings: `/api/embed` with a batch, or `/api/embeddings` with one text a call, of servers without it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.core.errors import ErrUpstream, LakehouseError
from lakehouse.services.contracts.embedder import ProviderClient
from lakehouse.services.embedding.backends import Outcome, TooLong
from lakehouse.services.embedding.cache import Embedded
from lakehouse.services.embedding.decoding import apportion, check_dimension, decode_answer, pack_vector
from lakehouse.services.lake.concurrency import run_all

CALLS_AT_ONCE = 4
"""Calls of `/api/embeddings` at a time: an old server reads them while it works on one."""


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of `/api/embed`."""

    model: str
    input: list[str]
    truncate: bool
    dimensions: int | None = None


class EmbedAnswer(msgspec.Struct, frozen=True):
    """What is used of the answer of `/api/embed`."""

    embeddings: list[list[float]]
    prompt_eval_count: int | None = None


class LegacyAnswer(msgspec.Struct, frozen=True):
    """The answer of `/api/embeddings`."""

    embedding: list[float]


class Servers:
    """What is known of the servers: those that have only `/api/embeddings`."""

    def __init__(self) -> None:
        self.legacy: set[str] = set()


class OllamaBackend:
    """One model of an Ollama server. `provider` is the server's name for the client."""

    max_batch = 64
    max_size = 256 * 1024
    concurrency = 2  # the server works on one batch of a model at a time, and reads the next one meanwhile

    def __init__(self, client: ProviderClient, servers: Servers, provider: str, model: str, dimension: int = 0) -> None:
        self._client = client
        self._servers = servers
        self._provider = provider
        self._model = model
        self._dimension = dimension

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Sequence[Outcome]:
        """Implements `Backend`. If a text of a batch is too long, each is asked for alone to find it.

        The server does not say which texts it has cut, so it is told to cut only a text that it has refused as a whole.
        """
        if self._provider not in self._servers.legacy:
            try:
                return await self._embed_batch(texts)
            except LakehouseError as error:
                if error.error_class == "context_overflow":
                    if len(texts) > 1:
                        return [outcome for text in texts for outcome in await self.embed([text], truncate=truncate)]
                    return await self._embed_beginning(texts) if truncate else [TooLong()]
                if error.error_class != "wrong_endpoint" or self._dimension:
                    raise
        outcomes = await self._embed_each(texts)
        self._servers.legacy.add(self._provider)
        return outcomes

    async def _embed_beginning(self, texts: Sequence[str]) -> list[Outcome]:
        outcomes = await self._embed_batch(texts, truncate=True)
        return [msgspec.structs.replace(outcome, truncated=True) for outcome in outcomes]

    async def _embed_batch(self, texts: Sequence[str], *, truncate: bool = False) -> list[Embedded]:
        request = EmbedRequest(
            model=self._model, input=list(texts), truncate=truncate, dimensions=self._dimension or None
        )
        body = await self._client.post(self._provider, "/api/embed", msgspec.json.encode(request))
        answer = decode_answer(body, EmbedAnswer, self._provider)
        if len(answer.embeddings) != len(texts):
            raise ErrUpstream(
                f"{self._provider} answered {len(texts)} texts with {len(answer.embeddings)} vectors",
                provider=self._provider,
            )
        tokens = apportion(answer.prompt_eval_count, texts)
        vectors = [pack_vector(vector, self._provider) for vector in answer.embeddings]
        check_dimension(vectors, self._dimension, provider=self._provider, model=self._model)
        return [Embedded(vector, count) for vector, count in zip(vectors, tokens, strict=True)]

    async def _embed_each(self, texts: Sequence[str]) -> list[Outcome]:
        """One call a text, as many at a time as the server reads."""
        outcomes: dict[int, Outcome] = {}

        async def embed_one(position: int) -> None:
            body = msgspec.json.encode({"model": self._model, "prompt": texts[position]})
            answer = await self._client.post(self._provider, "/api/embeddings", body)
            vector = pack_vector(decode_answer(answer, LegacyAnswer, self._provider).embedding, self._provider)
            check_dimension([vector], self._dimension, provider=self._provider, model=self._model)
            outcomes[position] = Embedded(vector)

        await run_all(embed_one, range(len(texts)), at_once=CALLS_AT_ONCE)
        return [outcomes[position] for position in range(len(texts))]
