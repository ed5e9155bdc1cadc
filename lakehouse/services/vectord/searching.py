"""Searches of one index: the vector of the query, and the defaults."""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.core.context import Phase
from lakehouse.core.errors import ErrBadRequest, ErrConflict
from lakehouse.services.contracts.retrieval import Hits, IndexInfo, RetrievalEngine, SearchMode, SearchQuery
from lakehouse.services.vectord.items import pack_vector
from lakehouse.services.vectord.models import IndexModels
from lakehouse.services.vectord.requests import MAX_K, SearchRequest, is_given


class Searcher:
    """Answers searches."""

    def __init__(self, engine: RetrievalEngine, models: IndexModels) -> None:
        self._engine = engine
        self._models = models

    async def search(self, index: str, request: SearchRequest, begin_phase: Callable[[Phase], None]) -> Hits:
        """Search an index.

        Raises ErrNotFound, ErrBadRequest for a vector of another dimension, ErrConflict for another model than the
        index's.
        """
        if request.text is None:
            begin_phase("searching")
            return await self._engine.search(index, self._make_query(request, None, b""))
        info = await self._models.describe(index)
        return await self._search_text(info, request, begin_phase)

    async def _search_text(self, info: IndexInfo, request: SearchRequest, begin_phase: Callable[[Phase], None]) -> Hits:
        wanted = self._models.resolve(request.model)
        if wanted and wanted != info.model:
            has = f"of the model {info.model!r}" if info.model else "without an embedding model"
            raise ErrConflict(f"`model` is {wanted[:80]!r}, and the index {info.name!r} is {has}", field="model")
        if not info.model and request.vector is None and request.mode in ("vector", "hybrid"):
            raise ErrBadRequest(
                f"`vector` is required: the index {info.name!r} has no embedding model for the text", field="vector"
            )
        vector = b""
        if request.vector is None and request.mode != "keyword":
            begin_phase("embedding")
            vector = await self._models.embed_query(request.text or "", info)
        begin_phase("searching")
        return await self._engine.search(info.name, self._make_query(request, info, vector))

    def _make_query(self, request: SearchRequest, info: IndexInfo | None, vector: bytes) -> SearchQuery:
        shown = request.shown
        return SearchQuery(
            k=min(request.k, MAX_K),
            vector=vector if request.vector is None else pack_vector(request.vector, "vector"),
            text=request.text or "",
            model=self._models.resolve(request.model) or (info.model if info is not None and vector else ""),
            mode=request.mode or _choose_mode(request, info),
            weight=request.weight,
            rerank=request.rerank,
            filter=bytes(request.filter) if is_given(request.filter) else b"",
            with_text="text" in shown,
            with_scores="scores" in shown,
            with_metadata="metadata" in shown,
        )


def _choose_mode(request: SearchRequest, info: IndexInfo | None) -> SearchMode:
    """By vector without a text; with one by both, or by the only one of both that the index has."""
    if request.text is None or info is None:
        return "vector"
    if not info.keyword:
        return "vector"
    return "hybrid" if info.model or request.vector is not None else "keyword"
