"""The packaged default model, which the engine of retrieval has loaded."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.services.contracts.retrieval import RetrievalEngine
from lakehouse.services.embedding.backends import Outcome, TooLong
from lakehouse.services.embedding.cache import Embedded
from lakehouse.services.embedding.names import WORDLLAMA_DIMENSION, WORDLLAMA_MAX_TOKENS
from lakehouse.services.embedding.vectors import FLOAT_SIZE, cut


class PackagedBackend:
    """The default model. The engine takes what waits in one step, so many calls may be under way."""

    max_batch = 256
    max_size = 512 * 1024
    concurrency = 8

    def __init__(self, engine: RetrievalEngine, dimension: int = WORDLLAMA_DIMENSION) -> None:
        self._engine = engine
        self._dimension = dimension

    async def embed(self, texts: Sequence[str], *, truncate: bool) -> Sequence[Outcome]:
        """Implements `Backend`."""
        answer = await self._engine.embed(texts, truncate=True)
        size = answer.dimension * FLOAT_SIZE
        cut_texts = set(answer.truncated)
        outcomes: list[Outcome] = []
        for position, tokens in enumerate(answer.tokens):
            vector = answer.vectors[position * size : (position + 1) * size]
            if position in cut_texts and not truncate:
                outcomes.append(TooLong(tokens, WORDLLAMA_MAX_TOKENS))
                continue
            if self._dimension != answer.dimension:
                vector = cut(vector, self._dimension)
            outcomes.append(Embedded(vector, min(tokens, WORDLLAMA_MAX_TOKENS), position in cut_texts))
        return outcomes
