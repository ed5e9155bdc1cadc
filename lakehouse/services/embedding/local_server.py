"""Embedding models of GGUF files, run by llama.cpp in a child process, over its HTTP interface."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.core.errors import ErrUpstream
from lakehouse.services.contracts.embedder import ProviderClient
from lakehouse.services.embedding.backends import Outcome, TooLong
from lakehouse.services.embedding.cache import Embedded
from lakehouse.services.embedding.decoding import decode_answer, pack_vector
from lakehouse.services.embedding.openai import EmbeddingsAnswer

PROVIDER = "local:"
"""In front of a model's name: the server of that model, for `ProviderClient`."""


class TokenizeAnswer(msgspec.Struct, frozen=True):
    """The tokens of a text, with the marks around it."""

    tokens: list[int]


class ModelMeta(msgspec.Struct, frozen=True):
    """Facts of the loaded file."""

    n_ctx_train: int
    n_embd: int


class ModelEntry(msgspec.Struct, frozen=True):
    """One model of the list."""

    meta: ModelMeta


class ModelsAnswer(msgspec.Struct, frozen=True):
    """What is used of the answer of `/v1/models`."""

    data: list[ModelEntry]


class LocalBackend:
    """One model of a GGUF file. `limit` is in tokens, with the marks around a text.

    llama.cpp refuses a text that is longer than its buffer and says so with a 500, so a text that may be too long is
    tokenized first, and the tokens are sent. It notices after a second that a connection is closed and computes until
    then, so it is given one text at a time: 2.5 s of work were left after a batch of eight, and batches gain nothing.
    """

    max_batch = 1
    max_size = 16 * 1024
    concurrency = 1

    def __init__(self, client: ProviderClient, model: str, *, limit: int) -> None:
        self._client = client
        self._model = model
        self._limit = limit

    @property
    def _provider(self) -> str:
        return PROVIDER + self._model

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Sequence[Outcome]:
        """Implements `Backend`."""
        return [await self._embed_text(text, truncate=truncate) for text in texts]

    async def _embed_text(self, text: str, *, truncate: bool) -> Outcome:
        if len(text.encode("utf-8", "surrogatepass")) + 2 <= self._limit:  # a token has one byte at least
            return await self._embed_input(text)
        tokens = await self._tokenize(text)
        if len(tokens) <= self._limit:
            return await self._embed_input(tokens)
        if not truncate:
            return TooLong(len(tokens), self._limit)
        entry = await self._embed_input([*tokens[: self._limit - 1], tokens[-1]])  # the last one marks the end
        return msgspec.structs.replace(entry, truncated=True)

    async def _tokenize(self, text: str) -> list[int]:
        body = msgspec.json.encode({"content": text, "add_special": True})
        answer = await self._client.post(self._provider, "/tokenize", body)
        return decode_answer(answer, TokenizeAnswer, self._model).tokens

    async def _embed_input(self, given: str | list[int]) -> Embedded:
        body = msgspec.json.encode({"input": [given], "encoding_format": "float"})
        answer = decode_answer(
            await self._client.post(self._provider, "/v1/embeddings", body), EmbeddingsAnswer, self._model
        )
        if [item.index for item in answer.data] != [0]:
            raise ErrUpstream(f"{self._model} answered one text with {len(answer.data)} vectors")
        return Embedded(pack_vector(answer.data[0].embedding, self._model), answer.usage.tokens)


async def read_meta(client: ProviderClient, model: str) -> ModelMeta:
    """The facts of the loaded file. Starts the server of the model, if it does not run."""
    answer = decode_answer(await client.get(PROVIDER + model, "/v1/models"), ModelsAnswer, model)
    if not answer.data:
        raise ErrUpstream(f"the server of the model {model} has no model")
    return answer.data[0].meta
