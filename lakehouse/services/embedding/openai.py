"""Embeddings and reranking in OpenAI's form, of the providers that speak it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.core.errors import ErrUpstream, LakehouseError
from lakehouse.services.contracts.embedder import ProviderClient, Relevance, Reranking
from lakehouse.services.embedding.backends import Outcome, TooLong
from lakehouse.services.embedding.cache import Embedded
from lakehouse.services.embedding.decoding import apportion, check_dimension, decode_answer, pack_vector


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of `/embeddings`."""

    model: str
    input: list[str]
    encoding_format: str = ""
    dimensions: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """The tokens of an answer; None if the provider does not count."""

    prompt_tokens: int | None = None
    total_tokens: int | None = None

    @property
    def tokens(self) -> int | None:
        return self.prompt_tokens or self.total_tokens


class Item(msgspec.Struct, frozen=True):
    """One vector of an answer."""

    index: int
    embedding: list[float]


class EmbeddingsAnswer(msgspec.Struct, frozen=True):
    """What is used of the answer of `/embeddings`."""

    data: list[Item]
    usage: Usage = Usage()


class OpenAIBackend:
    """One model of a provider with OpenAI's `/embeddings`."""

    max_batch = 128
    max_size = 256 * 1024
    concurrency = 4

    def __init__(self, client: ProviderClient, provider: str, model: str, dimension: int = 0) -> None:
        self._client = client
        self._provider = provider
        self._model = model
        self._dimension = dimension

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Sequence[Outcome]:
        """Implements `Backend`. If a text of a batch is too long, each is asked for alone to find it."""
        try:
            return await self._embed_batch(texts)
        except LakehouseError as error:
            if error.error_class != "context_overflow":
                raise
        if len(texts) > 1:
            return [outcome for text in texts for outcome in await self.embed([text], truncate=truncate)]
        return [await self._embed_beginning(texts[0]) if truncate else TooLong()]

    async def _embed_beginning(self, text: str) -> Outcome:
        """The vector of the beginning of a text: OpenAI's form has no word for cutting, so halves are tried."""
        while len(text) > 1:
            text = text[: len(text) // 2]
            try:
                [outcome] = await self._embed_batch([text])
            except LakehouseError as error:
                if error.error_class != "context_overflow":
                    raise
            else:
                return msgspec.structs.replace(outcome, truncated=True)
        return TooLong()

    async def _embed_batch(self, texts: Sequence[str]) -> list[Embedded]:
        request = EmbeddingsRequest(
            model=self._model, input=list(texts), encoding_format="float", dimensions=self._dimension or None
        )
        body = await self._client.post(self._provider, "/embeddings", msgspec.json.encode(request))
        answer = decode_answer(body, EmbeddingsAnswer, self._provider)
        vectors = {item.index: pack_vector(item.embedding, self._provider) for item in answer.data}
        if sorted(vectors) != list(range(len(texts))):
            raise ErrUpstream(
                f"{self._provider} answered {len(texts)} texts with {len(vectors)} vectors", provider=self._provider
            )
        check_dimension(vectors.values(), self._dimension, provider=self._provider, model=self._model)
        tokens = apportion(answer.usage.tokens, texts)
        return [Embedded(vectors[position], count) for position, count in enumerate(tokens)]


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of `/rerank`, of Cohere, Jina and those who follow them."""

    model: str
    query: str
    documents: list[str]
    top_n: int


class RerankResult(msgspec.Struct, frozen=True):
    """One result of an answer."""

    index: int
    relevance_score: float


class RerankAnswer(msgspec.Struct, frozen=True):
    """What is used of the answer of `/rerank`."""

    results: list[RerankResult]
    usage: Usage = Usage()


async def rerank(
    client: ProviderClient, provider: str, model: str, query: str, documents: Sequence[str], top_n: int
) -> Reranking:
    """Ask a provider for the relevance of documents. Raises ErrUpstream, and what the client raises."""
    request = RerankRequest(model=model, query=query, documents=list(documents), top_n=top_n)
    body = await client.post(provider, "/rerank", msgspec.json.encode(request))
    answer = decode_answer(body, RerankAnswer, provider)
    if any(not 0 <= result.index < len(documents) for result in answer.results):
        raise ErrUpstream(f"{provider} ranked documents that it was not given", provider=provider)
    results = sorted(answer.results, key=lambda result: -result.relevance_score)[:top_n]
    return Reranking(
        model=f"{provider}/{model}",
        method="model",
        results=[Relevance(index=result.index, relevance_score=result.relevance_score) for result in results],
        tokens=answer.usage.tokens,
    )
