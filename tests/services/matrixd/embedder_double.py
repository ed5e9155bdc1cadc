"""Vectors of three numbers, and an embedder that computes them for any model and fails when it is told to."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.services.contracts.embedder import Embeddings, TextKind

EMBEDDED = "embedded-3"


def embed_text(text: str) -> bytes:
    """Three numbers: how often the letters a, b and c occur, and a little of everything."""
    return pack(*(text.count(letter) + 0.01 for letter in "abc"))


def pack(*numbers: float) -> bytes:
    """A vector as the contract has it."""
    return array("f", numbers).tobytes()


@dataclass
class EmbedderDouble:
    """Vectors of three numbers for every model but `failing`."""

    failing: dict[str, LakehouseError] = field(default_factory=dict)
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    async def embed(
        self, texts: Sequence[str], *, model: str = "", kind: TextKind = "document", truncate: bool = False
    ) -> Embeddings:
        await trio.lowlevel.checkpoint()
        self.calls.append((model, tuple(texts)))
        if model in self.failing:
            raise self.failing[model]
        return Embeddings(model=model, dimension=3, vectors=b"".join(map(embed_text, texts)))
