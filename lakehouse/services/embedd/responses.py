"""The answers of embedd. Vectors that are JSON already are joined, not encoded again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from lakehouse.services.contracts.embedder import EmbeddedJson, Embeddings, Reranking

FLOAT_SIZE = 4


@lru_cache(64)
def _encode_name(name: str) -> bytes:
    return msgspec.json.encode(name)


def make_embed_json(found: EmbeddedJson) -> bytes:
    """The answer of `/embed`."""
    return b'{"model":%b,"dimension":%d,"vectors":[%b],"semantic":"%b",%b}' % (
        _encode_name(found.model),
        found.dimension,
        b",".join(found.vectors),
        found.semantic.encode(),
        _usage(found.truncated, found.tokens, found.cached),
    )


def make_embed_base64(found: Embeddings) -> bytes:
    """The answer of `/embed` with `"encoding": "base64"`."""
    return b'{"model":%b,"dimension":%d,"vectors":[%b],"semantic":"%b",%b}' % (
        _encode_name(found.model),
        found.dimension,
        b",".join(b'"%b"' % vector for vector in _split_base64(found)),
        found.semantic.encode(),
        _usage(found.truncated, found.tokens, found.cached),
    )


def _usage(truncated: Sequence[int], tokens: int | None, cached: int) -> bytes:
    count = b"null" if tokens is None else b"%d" % tokens
    positions = msgspec.json.encode(truncated) if truncated else b"[]"
    return b'"truncated":%b,"usage":{"tokens":%b,"cached":%d}' % (positions, count, cached)


def make_openai_json(found: EmbeddedJson) -> bytes:
    """The answer of `/embeddings`."""
    return _make_openai(found.vectors, found.model, found.tokens)


def make_openai_base64(found: Embeddings) -> bytes:
    """The answer of `/embeddings` with base64, for which OpenAI's clients ask."""
    return _make_openai([b'"%b"' % vector for vector in _split_base64(found)], found.model, found.tokens)


def _make_openai(vectors: Sequence[bytes], model: str, tokens: int | None) -> bytes:
    data = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, vector) for index, vector in enumerate(vectors)
    )
    return b'{"object":"list","data":[%b],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (
        data,
        _encode_name(model),
        tokens or 0,
        tokens or 0,
    )


def _split_base64(found: Embeddings) -> list[bytes]:
    size = found.dimension * FLOAT_SIZE
    return [b64encode(found.vectors[begin : begin + size]) for begin in range(0, len(found.vectors), size)]


def make_reranking(ranking: Reranking, documents: Sequence[str] | None) -> dict[str, object]:
    """The answer of `/rerank`, with the documents if they are given."""
    results: list[dict[str, object]] = [
        {"index": result.index, "relevance_score": result.relevance_score} for result in ranking.results
    ]
    if documents is not None:
        for result, entry in zip(ranking.results, results, strict=True):
            entry["document"] = {"text": documents[result.index]}
    return {
        "object": "list",
        "model": ranking.model,
        "method": ranking.method,
        "results": results,
        "usage": {"total_tokens": ranking.tokens or 0},
    }
