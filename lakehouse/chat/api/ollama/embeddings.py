"""Embeddings in Ollama's form, `/api/embed` and `/api/embeddings`, over the service that has the models."""

from __future__ import annotations

from typing import Protocol

import msgspec

from lakehouse.chat.api.ollama.names import remove_tag, require_name
from lakehouse.chat.api.ollama.types import EmbeddingsParams, EmbedParams
from lakehouse.chat.model.parts import JsonObject
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest, ErrUpstream


class EmbedTexts(Protocol):
    """Calls `/embed` of the service that embeds texts, with its request as a document."""

    async def __call__(self, document: JsonObject, *, context: RequestContext) -> bytes: ...


class _Usage(msgspec.Struct, frozen=True):
    tokens: int | None = None


class EmbeddedTexts(msgspec.Struct, frozen=True):
    """The answer of `/embed`. Vectors stay as they are written."""

    vectors: list[msgspec.Raw]
    usage: _Usage = _Usage()


async def embed(given: EmbedParams, embed_texts: EmbedTexts, *, context: RequestContext) -> JsonObject:
    """The answer of `/api/embed`, without its duration. Raises ErrBadRequest and the errors of the service."""
    name = require_name(given.model, given.name)
    if given.input is None:
        raise ErrBadRequest("`input` is required", field="input")
    texts = [given.input] if isinstance(given.input, str) else given.input
    found = EmbeddedTexts([])
    if any(texts):
        document: JsonObject = {"input": texts, "model": remove_tag(name), "truncate": given.truncate is not False}
        if given.dimensions:
            document["dimensions"] = given.dimensions
        found = _decode(await embed_texts(document, context=context))
    counts = {} if found.usage.tokens is None else {"prompt_eval_count": found.usage.tokens}
    return {"model": name, "embeddings": found.vectors, **counts}


async def embed_prompt(given: EmbeddingsParams, embed_texts: EmbedTexts, *, context: RequestContext) -> JsonObject:
    """The answer of `/api/embeddings`: one vector, none without a prompt."""
    texts = EmbedParams(model=given.model, name=given.name, input=given.prompt or [])
    answer = await embed(texts, embed_texts, context=context)
    return {"embedding": answer["embeddings"][0] if answer["embeddings"] else []}


def _decode(body: bytes) -> EmbeddedTexts:
    try:
        return msgspec.json.decode(body, type=EmbeddedTexts)
    except msgspec.DecodeError as error:
        raise ErrUpstream(f"the service for embeddings answered in an unknown form: {error}") from None
