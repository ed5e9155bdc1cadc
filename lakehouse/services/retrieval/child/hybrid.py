"""Keyword and hybrid search over one index or several, whose candidates are scored together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isnan

import msgspec
import numpy as np
from numpy.typing import NDArray

from lakehouse.services.contracts.retrieval import Scores
from lakehouse.services.retrieval.child import fusion
from lakehouse.services.retrieval.child.index import MemoryIndex
from lakehouse.services.retrieval.child.keyword import MAX_LISTED_ROWS, KeywordIndex
from lakehouse.services.retrieval.child.pieces import Pieces
from lakehouse.services.retrieval.child.queries import SearchRun, Task
from lakehouse.services.retrieval.child.results import Result
from lakehouse.services.retrieval.child.scan import exact_scores, to_distances
from lakehouse.services.retrieval.child.texts import TextModel
from lakehouse.services.retrieval.child.token_match import TokenMatcher, rarity_of

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(slots=True)
class _Candidates:
    """The candidates of all tasks, one after the other; NaN where a signal is missing, 0 where a rank is."""

    task: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    keyword: list[float] = field(default_factory=list)
    cosine: list[float] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)
    keyword_rank: list[int] = field(default_factory=list)
    vector_rank: list[int] = field(default_factory=list)


class HybridSearch:
    """The second half of a search with words: `Task.found` has the nearest vectors already."""

    def __init__(
        self,
        keyword: KeywordIndex,
        model: TextModel,
        pieces: Pieces,
        count_tokens: Callable[[MemoryIndex], None],
    ) -> None:
        self._keyword = keyword
        self._model = model
        self._pieces = pieces
        self._count_tokens = count_tokens
        self._matcher: TokenMatcher | None = None
        self._rarity: tuple[tuple[tuple[int, int], ...], Floats] | None = None

    def search(self, run: SearchRun) -> list[Result]:
        """The results of a run, the best first; those of several indexes are not yet cut at `k`."""
        tasks = run.open_tasks
        if not tasks:
            return []
        limit = run.list_length if run.query.mode == "hybrid" else run.per_corpus_k * len(tasks)
        rows, scores = self._search_words(run.query.text, tasks, limit)
        candidates = self._collect(tasks, rows, scores, limit if run.query.mode == "hybrid" else 0)
        if run.query.mode == "keyword":
            order, final = np.arange(len(candidates.rows)), np.array(candidates.keyword, np.float32)
            order = order[np.lexsort((np.array(candidates.keyword_rank), -final))]
            matches = np.full(len(candidates.rows), np.nan)
        else:
            order, final, matches = self._score(run, tasks, candidates, fusion.keyword_floor(scores, limit))
        if not run.many:  # of several indexes, each is cut on its own
            order = order[: run.query.k]
        corpora = [msgspec.json.encode(task.name) if run.many else b"" for task in tasks]
        made = []
        for at, score, match in zip(order.tolist(), final[order].tolist(), matches[order].tolist(), strict=True):
            parts = _make_scores(candidates, at, match) if run.query.with_scores else None
            distance = _known(candidates.distance[at])
            made.append(Result(candidates.rows[at], distance, score, parts, corpora[candidates.task[at]]))
        return made

    def _search_words(self, text: str, tasks: Sequence[Task], limit: int) -> tuple[Rows, Floats]:
        numbers = [task.opened.record.number for task in tasks]
        listed = _list_rows(tasks)
        if listed is not None:
            return self._keyword.search(text, numbers, limit, rows=listed)
        filtered = all(task.mask is not None for task in tasks)
        return self._keyword.search(
            text,
            numbers,
            limit,
            allowed=lambda rows: _allow(tasks, rows),
            list_allowed=(lambda: _list_allowed(tasks)) if filtered else None,
        )

    def _collect(self, tasks: Sequence[Task], rows: Rows, scores: Floats, limit: int) -> _Candidates:
        """The union of the keyword list and the best `limit` vectors of all tasks."""
        candidates = _Candidates()
        best = np.sort(np.concatenate([task.found.scores for task in tasks]))[::-1][:limit]
        for number, task in enumerate(tasks):
            found = task.found.positions[task.found.scores >= best[-1]] if len(best) else task.found.positions[:0]
            self._collect_task(candidates, number, task, found, rows, scores)
        return candidates

    def _collect_task(
        self, candidates: _Candidates, number: int, task: Task, found: Rows, rows: Rows, scores: Floats
    ) -> None:
        index = task.opened
        located, known = index.locate(rows)
        by_word = dict(zip(located[known].tolist(), np.flatnonzero(known).tolist(), strict=True))
        by_vector = {position: rank for rank, position in enumerate(found.tolist(), start=1)}
        positions = np.array(list(dict.fromkeys([*by_vector, *by_word])), np.int64)
        cosine, distance = np.full(len(positions), np.nan), np.full(len(positions), np.nan)
        if task.vector is not None and len(positions):
            have = np.flatnonzero(index.has_vector(positions))
            options = index.record.options
            exact = exact_scores(index.floats.take(positions[have]), task.vector, options.distance)
            cosine[have], distance[have] = exact, to_distances(exact, options.distance)
        candidates.task += [number] * len(positions)
        candidates.rows += index.rows_at(positions).tolist()
        candidates.cosine += cosine.tolist()
        candidates.distance += distance.tolist()
        for position in positions.tolist():
            at = by_word.get(position)
            candidates.keyword.append(float("nan") if at is None else float(scores[at]))
            candidates.keyword_rank.append(0 if at is None else at + 1)
            candidates.vector_rank.append(by_vector.get(position, 0))

    def _score(
        self, run: SearchRun, tasks: Sequence[Task], candidates: _Candidates, floor: float
    ) -> tuple[Rows, Floats, NDArray[np.float64]]:
        """The order of the candidates, their scores, and their token matches."""
        words = self._is_word_model(tasks)

        def match(chosen: Rows) -> Floats:
            return self._match(run, tasks, [candidates.rows[at] for at in chosen.tolist()])

        return fusion.score_candidates(
            np.array(candidates.keyword, np.float32),
            np.array(candidates.cosine, np.float32),
            floor=floor,
            weight=fusion.choose_weight(run.query.weight, words=words),
            match=match if fusion.wants_match(run.query, words=words) and len(run.tokens) else None,
            reranked=max(fusion.RERANKED, run.query.k),  # all results, so that scores can be compared
        )

    def _is_word_model(self, tasks: Sequence[Task]) -> bool:
        return all(self._model.embeds(task.opened.record.options) for task in tasks)

    def _match(self, run: SearchRun, tasks: Sequence[Task], rows: Sequence[int]) -> Floats:
        if self._matcher is None:
            self._matcher = TokenMatcher(self._model.load().token_vectors)
        tokens = self._pieces.read_tokens(rows)
        sizes = np.array([len(one) for one in tokens], np.int64)
        flat = np.concatenate(tokens) if tokens else np.empty(0, np.uint16)
        return self._matcher.match(run.tokens, flat, sizes, self._rarity_of(tasks))

    def _rarity_of(self, tasks: Sequence[Task]) -> Floats:
        """The rarity of tokens over all indexes of a search; that of the last one is kept."""
        indexes = {task.opened.record.number: task.opened for task in tasks}
        key = tuple((number, index.record.version) for number, index in sorted(indexes.items()))
        if self._rarity is None or self._rarity[0] != key:
            for index in indexes.values():
                self._count_tokens(index)
            counted = [index.frequencies for index in indexes.values() if index.frequencies is not None]
            frequencies: NDArray[np.int64] = np.sum(counted, axis=0)
            self._rarity = key, rarity_of(frequencies, sum(index.documents for index in indexes.values()))
        return self._rarity[1]


def _list_rows(tasks: Sequence[Task]) -> Rows | None:
    """The rows that the filters let through, if all tasks have a filter and the rows are few."""
    if any(task.mask is None for task in tasks):
        return None
    if sum(int(np.count_nonzero(task.mask)) for task in tasks if task.mask is not None) > MAX_LISTED_ROWS:
        return None
    return _list_allowed(tasks)


def _list_allowed(tasks: Sequence[Task]) -> Rows:
    """The rows that the filters of tasks let through, each of which has one."""
    masks = [(task.opened, task.mask) for task in tasks if task.mask is not None]
    return np.unique(np.concatenate([index.rows_at(np.flatnonzero(mask)) for index, mask in masks]))


def _allow(tasks: Sequence[Task], rows: Rows) -> NDArray[np.bool_]:
    """Which rows are items of a task's index that its filter lets through."""
    allowed = np.zeros(len(rows), np.bool_)
    for task in tasks:
        positions, known = task.opened.locate(rows)
        if task.mask is not None:
            known &= task.mask[positions]
        allowed |= known
    return allowed


def _make_scores(candidates: _Candidates, at: int, match: float) -> Scores:
    return Scores(
        keyword=_known(candidates.keyword[at]),
        cosine=_known(candidates.cosine[at]),
        token=_known(match),
        keyword_rank=candidates.keyword_rank[at] or None,
        vector_rank=candidates.vector_rank[at] or None,
    )


def _known(value: float) -> float | None:
    return None if isnan(value) else value
