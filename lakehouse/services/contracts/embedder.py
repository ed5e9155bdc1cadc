"""The contract of an embedder: vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lakehouse.services.contracts.values import Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The vectors of some texts, in the order of the texts, and the model that computed them."""

    model: str
    dimension: int
    vectors: Sequence[Vector]
    input_tokens: int | None = None


class Embedder(Protocol):
    """Computes vectors of texts."""

    async def embed(self, texts: Sequence[str], *, model: str = "", truncate: bool = False) -> Embeddings:
        """Embed texts with a model; an empty name selects the default model.

        Raises ErrProviderNotFound for an unknown model. A text that is too long raises an error with the position of
        the text, unless `truncate` is set.
        """
