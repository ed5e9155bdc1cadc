"""Answers of providers, checked: their JSON, their vectors, their counts of tokens; and calls that run together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from lakehouse.core.errors import ErrBadRequest, ErrUpstream
from lakehouse.services.embedding.vectors import FLOAT_SIZE, is_finite, pack

T = TypeVar("T")


def decode_answer(body: bytes, shape: type[T], provider: str) -> T:
    """Decode the answer of a provider. Raises ErrUpstream."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ErrUpstream(
            f"{provider} answered with embeddings that are not understood: {str(error)[:200]}", provider=provider
        ) from None


def pack_vector(values: Sequence[float], provider: str) -> bytes:
    """The bytes of a vector. Raises ErrUpstream for an empty one, and for components that are not finite."""
    try:
        vector = pack(values)
    except (OverflowError, TypeError):
        vector = b""
    if not vector or not is_finite(vector):
        raise ErrUpstream(f"{provider} answered with a vector that is empty or not finite", provider=provider)
    return vector


def check_dimension(vectors: Iterable[bytes], dimension: int, *, provider: str, model: str) -> None:
    """Refuse a dimension that was asked for and is not that of the vectors; 0 stands for none. Raises ErrBadRequest."""
    for vector in vectors if dimension else ():
        if len(vector) != dimension * FLOAT_SIZE:
            raise ErrBadRequest(
                f"the model {model} has vectors of {len(vector) // FLOAT_SIZE} numbers, and "
                f"{provider} does not cut them to {dimension}",
                field="dimension",
            )


def apportion(total: int | None, texts: Sequence[str]) -> list[int | None]:
    """The tokens of each text of a batch of which only their sum is known, by the texts' lengths."""
    if total is None:
        return [None] * len(texts)
    length = sum(map(len, texts)) or 1
    shares: list[int | None] = []
    given = end = 0
    for text in texts:
        end += len(text)
        upto = total * end // length
        shares.append(upto - given)
        given = upto
    return shares
