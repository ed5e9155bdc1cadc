"""The answers of embedd. Vectors that are JSON already are joined, not encoded again."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from lakehouse.services.contracts.embedder import EmbeddedJson, Embeddings, Reranking


def make_embed(found: EmbeddedJson | Embeddings) -> bytes:
    """The answer of `/embed`. `Embeddings` become base64."""
    return b'{"model":%b,"dimension":%d,"vectors":[%b],"semantic":"%b",%b}' % (
        _encode_name(found.model),
        found.dimension,
        b",".join(_encode_vectors(found)),
        found.semantic.encode(),
        _usage(found.truncated, found.tokens, found.cached),
    )


def _usage(truncated: Sequence[int], tokens: int | None, cached: int) -> bytes:
    count = b"null" if tokens is None else b"%d" % tokens
    positions = msgspec.json.encode(truncated) if truncated else b"[]"
    return b'"truncated":%b,"usage":{"tokens":%b,"cached":%d}' % (positions, count, cached)


def make_openai_embeddings(found: EmbeddedJson | Embeddings) -> bytes:
    """The answer of `/embeddings`. `Embeddings` become base64, for which OpenAI's clients ask."""
    data = b",".join(
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, vector)
        for index, vector in enumerate(_encode_vectors(found))
    )
    return b'{"object":"list","data":[%b],"model":%b,"usage":{"prompt_tokens":%d,"total_tokens":%d}}' % (
        data,
        _encode_name(found.model),
        found.tokens or 0,
        found.tokens or 0,
    )


@lru_cache(64)
def _encode_name(name: str) -> bytes:
    return msgspec.json.encode(name)


def _encode_vectors(found: EmbeddedJson | Embeddings) -> Sequence[bytes]:
    """Each vector as a value of JSON: the arrays that there are, or strings of base64."""
    if isinstance(found, EmbeddedJson):
        return found.vectors
    return [b'"%b"' % b64encode(vector) for vector in found.split()]


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
