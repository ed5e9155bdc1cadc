"""Hybrid scores: keyword and vector signals of the same candidates, combined by one formula.

The candidates are the union of a keyword list and a vector list. A candidate of one list only gets its missing signal:
the cosine is computed by the caller, a missing BM25 score is the lowest of the keyword list, or 0 if that list has all
matches (`keyword_floor`). Then

    score = (1 - weight) * bm25 / best bm25 + weight * (cosine - lowest) / (highest - lowest)

over the candidates of the whole search. Candidates of several indexes are scored together, with one best score and one
range: scores normalised in each index, or ranks in it, favour small indexes (measured in docs/retrieval.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.retrieval import SearchQuery

RERANKED = 50
"""Candidates, the best by complete scores, that are ordered anew by token match."""
WORDS_WEIGHT, SENTENCES_WEIGHT = 0.4, 0.6
"""The default share of the vectors: of a model that averages word vectors, and of one that reads sentences."""
KEYWORD_SHARE, COSINE_SHARE, MATCH_SHARE = 0.25, 0.35, 0.4
"""Shares of the three signals in the score with token match."""

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Both signals of each candidate, between 0 and 1."""

    keyword: Floats
    cosine: Floats


def keyword_floor(scores: Floats, limit: int) -> float:
    """The BM25 score of what a keyword list (the best first, cut at `limit`) does not have."""
    return float(scores[-1]) if len(scores) >= limit > 0 else 0.0


def scale_signals(keyword: Floats, cosine: Floats, *, missing: Mask, floor: float) -> Signals:
    """Scale BM25 by the best score, and cosines by their range: models use very different parts of it.

    `missing` marks the candidates without a BM25 score; they get `floor`.
    """
    filled = np.where(missing, np.float32(floor), keyword).astype(np.float32, copy=False)
    best = filled.max(initial=0.0)
    keyword_part = filled / best if best > 0 else np.zeros_like(filled)
    if not len(cosine) or cosine.max() <= cosine.min():
        return Signals(keyword=keyword_part, cosine=np.zeros_like(cosine))
    low, high = cosine.min(), cosine.max()
    return Signals(keyword=keyword_part, cosine=((cosine - low) / (high - low)).astype(np.float32, copy=False))


def complete_scores(signals: Signals, weight: float) -> Floats:
    """The score of each candidate; `weight` is the share of the vectors."""
    scores: Floats = (1 - weight) * signals.keyword + weight * signals.cosine
    return scores


def match_scores(signals: Signals, matches: Floats, chosen: Rows) -> Floats:
    """The score with token match of the candidates at the positions `chosen`; `matches` has one value for each of them.

    The signals stay scaled over all candidates, so a score does not depend on how many of them are chosen.
    """
    keyword, cosine = signals.keyword[chosen], signals.cosine[chosen]
    scores: Floats = KEYWORD_SHARE * keyword + COSINE_SHARE * cosine + MATCH_SHARE * matches
    return scores


def order_best(scores: Floats) -> Rows:
    """Positions of the scores, the best first, equal ones in their order."""
    return np.argsort(-scores, kind="stable")


def choose_weight(weight: float | None, *, words: bool) -> float:
    """The share of the vectors: that of the query, or the default of a model of word vectors or of sentences."""
    default = WORDS_WEIGHT if words else SENTENCES_WEIGHT
    return default if weight is None else weight


def wants_match(query: SearchQuery, *, words: bool) -> bool:
    """Whether token match orders the best candidates. Its shares are fixed: a weight in the query turns it off."""
    if query.rerank == "tokens" and not words:
        message = '`rerank` cannot be "tokens": it needs an index of the embedded model'
        raise ErrBadRequest(message, field="rerank")
    return query.rerank == "tokens" or (not query.rerank and query.weight is None and words)


def score_candidates(
    keyword: Floats,
    cosine: Floats,
    *,
    floor: float,
    weight: float,
    match: Callable[[Rows], Floats] | None,
    reranked: int,
) -> tuple[Rows, Floats, NDArray[np.float64]]:
    """The order of candidates, their scores, and their token matches; NaN where a signal is missing.

    `match` gives the token matches of the best `reranked` candidates, None if there are to be none.
    """
    matches = np.full(len(keyword), np.nan)
    if not len(keyword):
        return np.empty(0, np.int64), keyword, matches
    lowest = np.nanmin(cosine) if not np.isnan(cosine).all() else np.float32(0)
    cosine = np.where(np.isnan(cosine), lowest, cosine)
    signals = scale_signals(keyword, cosine, missing=np.isnan(keyword), floor=floor)
    scores = complete_scores(signals, weight)
    order = order_best(scores)
    if match is not None:
        chosen = order[:reranked].copy()
        matched = match(chosen)
        matches[chosen] = matched
        rescored = match_scores(signals, matched, chosen)
        order[: len(chosen)] = chosen[order_best(rescored)]
        scores[chosen] = rescored
    return order, scores, matches
