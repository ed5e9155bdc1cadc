"""Descriptions of indexes, known without a call while an index is unchanged."""

from __future__ import annotations

from lakehouse.services.contracts.retrieval import IndexInfo, RetrievalEngine

MAX_KNOWN = 1024
"""Indexes that are remembered."""


class KnownIndexes:
    """Describes indexes. A description is remembered until its index changes (`RetrievalEngine.read_state`)."""

    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine
        self._known: dict[str, tuple[tuple[object, ...], IndexInfo]] = {}

    async def describe(self, index: str) -> IndexInfo:
        """An index, of which only the options are up to date. Raises ErrNotFound."""
        state = await self._engine.read_state([index])
        known = self._known.get(index)
        if known is not None and known[0] == state:
            return known[1]
        info = await self._engine.get_index(index)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[index] = state, info
        return info
