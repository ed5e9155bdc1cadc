"""The search over several corpora: embed the question, search, filter, apply playbooks, sort, cut at `k`.

One corpus that fails is the failure of the whole search, unless it is `partial`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import trio

from lakehouse.core.errors import ErrNotFound, ErrTimeout, LakehouseError
from lakehouse.core.groups import single_failure, unwrap_single
from lakehouse.services.contracts.known_indexes import KnownIndexes
from lakehouse.services.contracts.retrieval import (
    CorpusFailure,
    CorpusQuery,
    Hit,
    ManyHits,
    RetrievalEngine,
    SearchQuery,
)
from lakehouse.services.matrixd.corpus_failures import make_failure, note_failures
from lakehouse.services.matrixd.embedding import QuestionEmbedder
from lakehouse.services.matrixd.metadata_filter import matches
from lakehouse.services.matrixd.playbook_application import PlaybookApplication
from lakehouse.services.matrixd.requests import MatrixSearchRequest
from lakehouse.services.matrixd.search_cache import SearchCache

MAX_CANDIDATES = 10_000
"""Candidates of all corpora that are filtered and moved before the cut at `k`."""


@dataclass(slots=True, kw_only=True)
class MatrixResults:
    """The results as the JSON array of an answer, and what is said about them. `boosted` is None without playbooks."""

    results: bytes
    per_corpus: Mapping[str, int]
    dropped_by_filter: int = 0
    boosted: int | None = None
    injected: int | None = None
    failed: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def encode(self) -> bytes:
        """The document of a search. The results of the engine pass through as they are."""
        return b'{"results":' + self.results + b"," + msgspec.json.encode(self._describe())[1:]

    def encode_with(self, document: object) -> bytes:
        """A document with what is said about the results in the place of the results."""
        return msgspec.json.encode(document)[:-1] + b"," + msgspec.json.encode(self._describe())[1:]

    def _describe(self) -> dict[str, object]:
        members: dict[str, object] = {"per_corpus": self.per_corpus, "dropped_by_filter": self.dropped_by_filter}
        if self.boosted is not None:
            members |= {"boosted": self.boosted, "injected": self.injected}
        if self.failed:
            members["failed"] = self.failed
        if self.warnings:
            members["warnings"] = self.warnings
        return members


class MatrixSearch:
    """Searches corpora. `playbooks` applies the playbook memory to what was found."""

    def __init__(
        self,
        engine: RetrievalEngine,
        questions: QuestionEmbedder,
        indexes: KnownIndexes,
        playbooks: PlaybookApplication,
        cache: SearchCache,
    ) -> None:
        self._engine = engine
        self._questions = questions
        self._indexes = indexes
        self._playbooks = playbooks
        self._cache = cache

    async def search(self, request: MatrixSearchRequest) -> MatrixResults:
        """Answer a checked request. Raises ErrUpstream if a corpus fails, and what embedding the question raises."""
        failed: dict[str, str] = {}
        key = self._cache.make_key(request)
        if key is None:
            found = await self._retrieve(request, await self._embed(request, failed), failed)
        else:
            state = await self._cache.read_state(request)
            known = self._cache.find(key, state)
            found = known or await self._retrieve(request, await self._embed(request, failed), failed)
            if known is None:
                self._cache.keep(key, state, found)
        if not request.is_refined:
            return MatrixResults(results=found.results, per_corpus=found.per_corpus, failed=failed)
        return await self._refine(request, found, failed)

    # The question.

    async def _embed(self, request: MatrixSearchRequest, failed: dict[str, str]) -> Sequence[CorpusQuery]:
        """The corpora with the vector of the question in the model of each."""
        if request.vector or request.mode == "keyword":
            return request.choices
        groups = await self._group_by_model(request, failed)
        corpora: list[CorpusQuery] = []
        for model, members in groups.items():
            try:
                with _time_limit(request):
                    vector = await self._questions.embed_for(request.query_text, model)
            except LakehouseError as error:
                if not request.partial:
                    raise
                failed.update({corpus.index: error.message for corpus in members})
            else:
                corpora += [msgspec.structs.replace(corpus, vector=vector) for corpus in members] if vector else members
        return corpora

    async def _group_by_model(
        self, request: MatrixSearchRequest, failed: dict[str, str]
    ) -> dict[str, list[CorpusQuery]]:
        """The corpora by the model that embeds the question for them: that of the request, or that of the index."""
        groups: dict[str, list[CorpusQuery]] = {}
        for corpus in request.choices:
            try:
                model = (await self._indexes.describe(corpus.index)).model
            except ErrNotFound as error:
                note_failures(request, failed, {corpus.index: CorpusFailure(code=error.code, message=error.message)})
                continue
            groups.setdefault(self._questions.model_for(model, request.model), []).append(corpus)
        return groups

    # Retrieval.

    async def _retrieve(
        self, request: MatrixSearchRequest, corpora: Sequence[CorpusQuery], failed: dict[str, str]
    ) -> ManyHits:
        query = _make_query(request, len(corpora))
        if not request.partial:
            found = await self._engine.search_many(corpora, query, per_corpus_k=request.candidates)
            note_failures(request, failed, found.failed)
            return found
        if request.mode == "vector":
            found = await self._retrieve_each(request, corpora, query, failed)
        else:
            with _time_limit(request):
                found = await self._engine.search_many(corpora, query, per_corpus_k=request.candidates)
            note_failures(request, failed, found.failed)
        if len(failed) == len(request.choices):
            raise make_failure(failed)
        return found

    async def _retrieve_each(
        self, request: MatrixSearchRequest, corpora: Sequence[CorpusQuery], query: SearchQuery, failed: dict[str, str]
    ) -> ManyHits:
        """Search each corpus with its own time limit, and merge the results by distance.

        Raises the first failure of the nursery without its group.
        """
        parts: dict[str, ManyHits] = {}

        async def search_one(corpus: CorpusQuery) -> None:
            try:
                with _time_limit(request):
                    part = await self._engine.search_many([corpus], query, per_corpus_k=request.candidates)
            except LakehouseError as error:
                failed[corpus.index] = error.message
            else:
                note_failures(request, failed, part.failed)
                parts[corpus.index] = part

        try:
            async with trio.open_nursery() as nursery:
                for corpus in corpora:
                    nursery.start_soon(search_one, corpus)
        except BaseExceptionGroup as group:
            raise single_failure(group, LakehouseError) or unwrap_single(group) from None
        return _merge([parts[corpus.index] for corpus in corpora if corpus.index in parts], query.k)

    # What follows.

    async def _refine(self, request: MatrixSearchRequest, found: ManyHits, failed: dict[str, str]) -> MatrixResults:
        """Filter by metadata and id, apply playbooks, sort, and cut."""
        hits = found.decode()
        retrieved = {(hit.id, hit.corpus) for hit in hits}
        kept = [hit for hit in hits if _is_wanted(hit, request)]
        dropped = len(hits) - len(kept)
        results = MatrixResults(results=b"", per_corpus=found.per_corpus, dropped_by_filter=dropped, failed=failed)
        excluded = set(request.exclude_ids)
        kept = [hit for hit in kept if hit.id not in excluded]
        if request.use_playbook:
            applied = await self._playbooks.apply(request, kept, retrieved)
            kept = sort_hits(applied.hits, request)[: request.count]
            shown = {(hit.id, hit.corpus) for hit in kept}
            results.boosted, results.injected = len(shown & applied.boosted), len(shown & applied.injected)
            results.warnings = applied.warnings
        results.results = msgspec.json.encode(kept[: request.count])
        return results


def sort_hits(hits: Iterable[Hit], request: MatrixSearchRequest) -> list[Hit]:
    """The hits, the nearest first, or those with the greatest score where words count. Equal ones keep their order."""
    if request.mode == "vector":
        return sorted(hits, key=_rank_distance)
    return sorted(hits, key=lambda hit: float("inf") if hit.score is None else -hit.score)


def _rank_distance(hit: Hit) -> float:
    """What hits are sorted by where distances count: one without a distance comes last."""
    return float("inf") if hit.distance is None else hit.distance


def _is_wanted(hit: Hit, request: MatrixSearchRequest) -> bool:
    return not request.metadata_filter or matches(hit.metadata, request.metadata_filter)


def _make_query(request: MatrixSearchRequest, corpora: int) -> SearchQuery:
    """The query of the engine. All candidates are wanted if some may be dropped before the cut at `k`."""
    return SearchQuery(
        k=max(request.count, min(request.candidates * corpora, MAX_CANDIDATES))
        if request.is_refined
        else request.count,
        vector=request.vector,
        text=request.query_text,
        model=request.model,
        mode=request.mode,
        weight=request.weight,
        rerank=request.rerank,
        filter=bytes(request.filter),
        with_text="text" in request.extras,
        with_scores="scores" in request.extras,
        with_metadata=request.is_refined or "metadata" in request.extras,
    )


def _merge(parts: Sequence[ManyHits], k: int) -> ManyHits:
    hits = sorted((hit for part in parts for hit in part.decode()), key=_rank_distance)
    per_corpus = {name: count for part in parts for name, count in part.per_corpus.items()}
    return ManyHits(results=msgspec.json.encode(hits[:k]), count=min(len(hits), k), per_corpus=per_corpus)


@contextmanager
def _time_limit(request: MatrixSearchRequest) -> Iterator[None]:
    """The limit of one corpus of a partial search. Raises ErrTimeout."""
    if not request.partial:
        yield
        return
    with trio.move_on_after(request.seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise ErrTimeout(f"no answer within {request.seconds:g} s")
