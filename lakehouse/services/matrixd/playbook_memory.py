"""The playbooks in their indexes: records them, and finds those of similar questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from lakehouse.asgi.json_body import decode_json
from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound, LakehouseError
from lakehouse.services.contracts.retrieval import IndexOptions, Item, RetrievalEngine, SearchQuery
from lakehouse.services.matrixd.embedding import QuestionEmbedder
from lakehouse.services.matrixd.playbooks import Playbook, PlaybookEntry, make_entry, make_id, read_playbooks
from lakehouse.services.matrixd.requests import PLAYBOOK_CORPUS, MatrixSearchRequest, PlaybookBatch, PlaybookRequest


@dataclass(slots=True)
class FoundPlaybooks:
    """The playbooks of similar questions, and the reason if none were looked for."""

    playbooks: Sequence[Playbook] = ()
    skipped: str = ""


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one entry of a batch."""

    index: int
    playbook_id: str = ""
    error: str = ""


class PlaybookMemory:
    """Records and finds playbooks. Their questions are embedded by the default model."""

    def __init__(self, engine: RetrievalEngine, questions: QuestionEmbedder) -> None:
        self._engine = engine
        self._questions = questions
        self.recorded = 0
        """Playbooks that were recorded."""

    # Finding.

    async def find(self, request: MatrixSearchRequest) -> FoundPlaybooks:
        """Find the playbooks of similar questions.

        A vector in the request is taken as one of the default model. A missing index is a cold start. Playbooks are
        skipped with a reason if the search uses another model than theirs.
        """
        default = self._questions.default_model
        if (model := self._questions.resolve(request.model)) != default:
            return FoundPlaybooks(skipped=f"playbooks are skipped: they use the model {default!r}, not {model!r}")
        vector = request.vector
        if not vector:
            vector = await self._questions.embed_for(request.query_text, self._questions.model_for(default))
        query = SearchQuery(k=request.playbook_top_k, vector=vector, text=request.query_text, model=default)
        try:
            hits = await self._engine.search(request.playbook_corpus, query)
        except ErrNotFound:
            return FoundPlaybooks()
        except (ErrConflict, ErrBadRequest) as error:  # of another model, or a vector of another dimension
            return FoundPlaybooks(skipped=f"playbooks are skipped: {error.message}")
        return FoundPlaybooks(read_playbooks(hits.decode()))

    # Recording.

    async def record(self, request: PlaybookRequest) -> str:
        """Record one playbook; durable at return. Returns its id. Raises ErrBadRequest, and what embedding raises."""
        request.check()
        entry = make_entry(request)
        await self._store(request.corpus or PLAYBOOK_CORPUS, [entry])
        return make_id(entry)

    async def record_all(self, request: PlaybookBatch) -> list[BatchResult]:
        """Record the valid entries of a batch; the others have an error in their result."""
        results: dict[int, BatchResult] = {}
        batches: dict[str, list[tuple[int, PlaybookEntry]]] = {}  # by index, with the positions
        for position, raw in enumerate(request.entries):
            try:
                read = decode_json(bytes(raw), PlaybookRequest)
                read.check()
            except ErrBadRequest as error:
                results[position] = BatchResult(index=position, error=error.message)
            else:
                corpus = read.corpus or request.corpus or PLAYBOOK_CORPUS
                batches.setdefault(corpus, []).append((position, make_entry(read)))
        for corpus, entries in batches.items():
            results.update(await self._store_batch(corpus, entries))
        return [results[position] for position in sorted(results)]

    async def _store_batch(self, corpus: str, entries: Sequence[tuple[int, PlaybookEntry]]) -> dict[int, BatchResult]:
        """Store the entries together; if that fails through one of them, each by itself."""
        try:
            await self._store(corpus, [entry for _, entry in entries])
        except LakehouseError as error:
            if len(entries) == 1 or error.status >= 500:
                return {at: BatchResult(index=at, error=error.message) for at, _ in entries}
            results: dict[int, BatchResult] = {}
            for entry in entries:
                results |= await self._store_batch(corpus, [entry])
            return results
        return {at: BatchResult(index=at, playbook_id=make_id(entry)) for at, entry in entries}

    async def _store(self, corpus: str, entries: Sequence[PlaybookEntry]) -> None:
        """Add the entries to an index, which is created if it is missing."""
        items, dimension = await self._make_items(entries)
        model = self._questions.default_model
        try:
            await self._engine.add(corpus, items, model=model)
        except ErrNotFound:
            try:
                options = IndexOptions(name=corpus, dimension=dimension, model=model, keyword=False)
                await self._engine.create_index(options)
            except ErrConflict:  # created by another request since
                pass
            await self._engine.add(corpus, items, model=model)
        self.recorded += len(entries)

    async def _make_items(self, entries: Sequence[PlaybookEntry]) -> tuple[list[Item], int]:
        """The items, with vectors unless the engine embeds their texts, and the dimension of the vectors or 0."""
        vectors, dimension = [b""] * len(entries), 0
        if self._questions.default_model != self._questions.embedded_model:
            texts = [entry.query_text for entry in entries]
            embeddings = await self._questions.embedder.embed(texts, model=self._questions.default_model, kind="query")
            vectors, dimension = embeddings.split(), embeddings.dimension
        items = [
            Item(
                id=make_id(entry),
                vector=vector,
                text=entry.query_text,
                metadata=msgspec.json.encode(entry),
            )
            for entry, vector in zip(entries, vectors, strict=True)
        ]
        return items, dimension
