"""The contract of an embedder: vectors of texts, from whichever model the name selects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

TextKind = Literal["query", "document"]
"""What a text is used for: some models embed a question and a passage differently."""


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors of some texts in their order, and the model that computed them.

    `vectors` is float32, little endian, one vector after the other. `tokens` is None if the model does not count;
    `cached` is the number of texts whose vectors were known; `truncated` has the positions of the texts that were cut.
    """

    model: str
    dimension: int
    vectors: bytes
    tokens: int | None = None
    cached: int = 0
    truncated: list[int] = []


class Embedder(Protocol):
    """Computes vectors of texts."""

    async def embed(
        self, texts: Sequence[str], *, model: str = "", kind: TextKind = "document", truncate: bool = False
    ) -> Embeddings:
        """Embed texts with a model; an empty name selects the default model.

        Raises ErrProviderNotFound for a provider that is not registered, ErrUpstream for an unknown model or a failing
        provider, ErrUnprocessable with the position of a text that is too long, unless `truncate` is set.
        """
