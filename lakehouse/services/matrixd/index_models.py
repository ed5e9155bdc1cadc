"""The embedding models of indexes, known without a call while an index is unchanged."""

from __future__ import annotations

from lakehouse.services.contracts.retrieval import RetrievalEngine

MAX_KNOWN = 10_000


class IndexModels:
    """Finds the model of an index."""

    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine
        self._known: dict[str, tuple[int, str]] = {}

    async def find(self, index: str) -> str:
        """The model of an index; empty if it has none. Raises ErrNotFound."""
        changes = self._engine.changes(index)
        known = self._known.get(index)
        if known is not None and known[0] == changes:
            return known[1]
        model = (await self._engine.get_index(index)).model
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[index] = changes, model
        return model
