"""The contract of a vector index: named indexes, searched by vector or by keyword."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lakehouse.services.contracts.values import JsonValue, Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorItem:
    """One item of an index: its id, and either a vector or a text, which the model of the index embeds."""

    id: str
    vector: Vector | None = None
    text: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


SearchMode = Literal["vector", "keyword", "hybrid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorQuery:
    """A search by a vector or a text. `filter` is applied before the best `k` items are selected."""

    k: int
    vector: Vector | None = None
    text: str | None = None
    mode: SearchMode = "vector"
    filter: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorHit:
    """One result. `distance` is None for an item that was found by keyword only."""

    id: str
    distance: float | None
    score: float
    text: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorHits:
    """The results of a search, in ascending order of `distance`. `exact` is true if every item was compared."""

    hits: Sequence[VectorHit]
    exact: bool


class VectorIndex(Protocol):
    """Named indexes of vectors. Each has a dimension, and optionally an embedding model."""

    async def add(self, index: str, items: Sequence[VectorItem]) -> int:
        """Add items and replace those with the same ids; durable at return. Returns the number of items in the index.

        Raises ErrNotFound, and ErrBadRequest for a vector whose dimension differs from that of the index.
        """

    async def delete(self, index: str, ids: Sequence[str]) -> int:
        """Delete items. Returns the number of deleted items."""

    async def search(self, index: str, query: VectorQuery) -> VectorHits:
        """Return the nearest items. Raises ErrNotFound, ErrBadRequest."""
