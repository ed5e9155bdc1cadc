"""Searches in a vector store: raw lists from the store, scores and order as for indexes in the folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

from lakehouse.core.errors import ErrBadRequest, ErrConflict, LakehouseError
from lakehouse.services.contracts.filter_language import Filter, parse_filter
from lakehouse.services.contracts.retrieval import CorpusFailure, CorpusQuery, Distance, Hits, ManyHits, SearchQuery
from lakehouse.services.contracts.vector_store import (
    Candidate,
    Candidates,
    CandidateSearch,
    CorpusSearch,
    StoredIndex,
    VectorStore,
    make_not_found,
)
from lakehouse.services.retrieval.client import LakeRetrieval, make_error
from lakehouse.services.retrieval.hit_encoding import Result, encode_results
from lakehouse.services.retrieval.messages import CANDIDATES, PreparedQuery, PrepareQuery, ScoreCandidates

ATTEMPTS = 3
"""Times that a search is begun, because another service has replaced an index meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The search of one index that is there."""

    corpus: CorpusQuery
    index: StoredIndex
    vector: bytes
    filters: Sequence[Filter]


class Prepared(NamedTuple):
    """A search before the store is asked: the query, a task for each index, and why others have none."""

    query: PreparedQuery
    tasks: list[Task]
    failures: dict[str, LakehouseError]


class Found(NamedTuple):
    """The results of a search, the best first, before the cut at `k`."""

    prepared: Prepared
    candidates: Candidates
    results: list[Result]


class StoreSearch:
    """Answers searches. `local` embeds the questions and scores the candidates."""

    def __init__(self, store: VectorStore, local: LakeRetrieval) -> None:
        self.searches = 0
        self.seconds = 0.0
        self._store = store
        self._local = local

    async def search(self, index: str, query: SearchQuery) -> Hits:
        """Search one index."""
        prepared, candidates, results = await self._find([CorpusQuery(index=index)], query, 0)
        for failure in prepared.failures.values():
            raise failure
        results = results[: query.k]
        return Hits(
            results=encode_results(results, query),
            count=len(results),
            version=candidates.versions[0],
            exact=candidates.exact[0],
            model=prepared.tasks[0].index.options.model,
        )

    async def search_many(self, corpora: Sequence[CorpusQuery], query: SearchQuery, *, per_corpus_k: int) -> ManyHits:
        """Search several indexes and order their results together."""
        if not corpora:
            raise ErrBadRequest("`corpora` must name at least one index", field="corpora")
        prepared, candidates, results = await self._find(corpora, query, per_corpus_k)
        names = [task.corpus.index for task in prepared.tasks]
        counts = dict.fromkeys(names, 0)
        kept = []
        for result in results:
            name = names[result.candidate.corpus]
            if counts[name] < per_corpus_k:
                counts[name] += 1
                kept.append(result)
        kept = kept[: query.k]
        return ManyHits(
            results=encode_results(kept, query, names),
            count=len(kept),
            per_corpus=counts,
            failed={
                name: CorpusFailure(code=failure.code, message=failure.message)
                for name, failure in prepared.failures.items()
            },
            exact=all(candidates.exact),
        )

    async def _find(self, corpora: Sequence[CorpusQuery], query: SearchQuery, per_corpus_k: int) -> Found:
        began = time.perf_counter()
        for attempt in range(ATTEMPTS):
            prepared = await self._prepare(corpora, query, per_corpus_k)
            try:
                found = await self._fetch(prepared, query, per_corpus_k or query.k)
                break
            except ErrConflict:
                if attempt == ATTEMPTS - 1:
                    raise
        if query.mode == "vector":
            results = order_by_distance(found)
        elif query.mode == "keyword":
            results = order_by_words(found)
        else:
            results = await self._order_by_score(prepared, found, query)
        self.searches += 1
        self.seconds += time.perf_counter() - began
        return Found(prepared, found, results)

    async def _prepare(self, corpora: Sequence[CorpusQuery], query: SearchQuery, per_corpus_k: int) -> Prepared:
        """Look the indexes up, embed the question, read the filters. Raises ErrBadRequest for what fits no index."""
        names = [corpus.index for corpus in corpora]
        there = {found.options.name: found for found in await self._store.find_indexes(names)}
        asked = [corpus for corpus in corpora if corpus.index in there]
        call = PrepareQuery(
            query=query,
            options=[there[corpus.index].options for corpus in asked],
            vectors=[corpus.vector or query.vector for corpus in asked],
            per_corpus_k=per_corpus_k,
        )
        prepared = await self._local.prepare_query(call)
        failures: dict[str, LakehouseError] = {
            corpus.index: make_not_found(corpus.index) for corpus in corpora if corpus.index not in there
        }
        tasks = []
        for corpus, vector, failure in zip(asked, prepared.vectors, prepared.failures, strict=True):
            try:
                if failure is not None:
                    raise make_error(failure)
                filters = [wanted for one in (query.filter, corpus.filter) if (wanted := parse_filter(one)) is not None]
            except LakehouseError as error:
                failures[corpus.index] = error
            else:
                tasks.append(Task(corpus=corpus, index=there[corpus.index], vector=vector, filters=filters))
        return Prepared(prepared, tasks, failures)

    async def _fetch(self, prepared: Prepared, query: SearchQuery, per_corpus_k: int) -> Candidates:
        tasks = prepared.tasks
        if not tasks:
            return Candidates(found=[], versions=[], exact=[])
        nearest = by_words = 0
        if query.mode == "hybrid":
            nearest = by_words = max(CANDIDATES, query.k)
        elif query.mode == "vector":
            nearest = per_corpus_k
        else:
            by_words = per_corpus_k * len(tasks)
        search = CandidateSearch(
            corpora=[
                CorpusSearch(
                    index=task.corpus.index,
                    identity=task.index.identity,
                    vector=task.vector,
                    filters=task.filters,
                )
                for task in tasks
            ],
            nearest=nearest,
            words=prepared.query.words,
            by_words=by_words,
            tokens=prepared.query.tokens,
            with_text=query.with_text,
            with_metadata=query.with_metadata,
        )
        return await self._store.search(search)

    async def _order_by_score(self, prepared: Prepared, found: Candidates, query: SearchQuery) -> list[Result]:
        """The candidates of a hybrid search by their complete scores."""
        limit = max(CANDIDATES, query.k)
        candidates = cut_nearest(found.found, limit)
        listed = [candidate.keyword for candidate in candidates if candidate.keyword is not None]
        metrics: list[Distance] = [task.index.options.distance for task in prepared.tasks]
        call = ScoreCandidates(
            query=query,
            keyword=[nan if one.keyword is None else one.keyword for one in candidates],
            cosine=[to_score(one.distance, metrics[one.corpus]) for one in candidates],
            floor=min(listed) if len(listed) >= limit else 0.0,
            words_model=prepared.query.words_model,
            tokens=prepared.query.tokens,
            documents=[one.tokens for one in candidates],
            frequencies=list(found.frequencies),
            counted=found.documents,
        )
        scored = await self._local.score_candidates(call)
        return [Result(candidates[one.position], one.score, one.token, call.cosine[one.position]) for one in scored]


def order_by_distance(found: Candidates) -> list[Result]:
    """The nearest candidates of all indexes; equal ones in the order of the indexes and of their lists."""
    nearest = [one for one in found.found if one.vector_rank is not None]
    nearest.sort(key=lambda one: (one.distance or 0.0, one.corpus, one.vector_rank))
    return [Result(one) for one in nearest]


def order_by_words(found: Candidates) -> list[Result]:
    """The candidates of the list by words."""
    listed = [one for one in found.found if one.keyword is not None]
    listed.sort(key=lambda one: (-(one.keyword or 0.0), one.keyword_rank))
    return [Result(one, one.keyword) for one in listed]


def cut_nearest(candidates: Sequence[Candidate], limit: int) -> list[Candidate]:
    """The candidates by words, and the nearest `limit` of all indexes together."""
    distances = sorted(one.distance for one in candidates if one.vector_rank is not None and one.distance is not None)
    bound = distances[:limit][-1] if distances else 0.0
    return [
        one
        for one in candidates
        if one.keyword is not None
        or (one.vector_rank is not None and one.distance is not None and one.distance <= bound)
    ]


def to_score(distance: float | None, metric: Distance) -> float:
    """What the formulas take for a distance; greater is nearer, NaN for none."""
    if distance is None:
        return nan
    if metric == "cosine":
        return 1 - distance
    return -distance if metric == "dot" else -distance * distance
