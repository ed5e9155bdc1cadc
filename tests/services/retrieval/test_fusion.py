"""Hybrid scores and token match: the formulas of docs/retrieval.md, by hand and against a plain implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lakehouse.services.retrieval.child.fusion import (
    complete_scores,
    keyword_floor,
    match_scores,
    order_best,
    scale_signals,
)
from lakehouse.services.retrieval.child.token_match import TokenMatcher, rarity_of


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_score_is_keyword_by_best_and_cosine_by_range() -> None:
    keyword, cosine = floats(10, 5, 0, 0), floats(0.2, 0.6, 0.4, 0.2)
    missing = np.array([False, False, True, True])
    signals = scale_signals(keyword, cosine, missing=missing, floor=5.0)
    np.testing.assert_allclose(signals.keyword, [1, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(signals.cosine, [0, 1, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(complete_scores(signals, 0.4), [0.6, 0.7, 0.5, 0.3], atol=1e-6)
    assert complete_scores(signals, 0.4).dtype == np.float32
    chosen = np.array([1, 0])
    matches = floats(0.5, 1)
    np.testing.assert_allclose(match_scores(signals, matches, chosen), [0.125 + 0.35 + 0.2, 0.25 + 0.4], atol=1e-6)


def test_what_the_keyword_list_lacks_has_its_lowest_score_or_none() -> None:
    assert keyword_floor(floats(9, 8, 7), 3) == 7
    assert keyword_floor(floats(9, 8, 7), 4) == 0  # the list has all matches
    assert keyword_floor(floats(), 3) == 0
    signals = scale_signals(floats(6, 0), floats(1, 1), missing=np.array([False, True]), floor=3.0)
    np.testing.assert_allclose(signals.keyword, [1, 0.5])


def test_one_signal_without_information_leaves_the_order_to_the_other() -> None:
    nothing = np.array([True, True, True])
    no_words = scale_signals(floats(0, 0, 0), floats(0.1, 0.3, 0.2), missing=nothing, floor=0.0)
    assert order_best(complete_scores(no_words, 0.4)).tolist() == [1, 2, 0]
    same_vectors = scale_signals(floats(1, 3, 2), floats(0.5, 0.5, 0.5), missing=~nothing, floor=0.0)
    assert order_best(complete_scores(same_vectors, 0.6)).tolist() == [1, 2, 0]
    empty = scale_signals(floats(), floats(), missing=nothing[:0], floor=0.0)
    assert complete_scores(empty, 0.4).tolist() == []


def test_equal_scores_keep_their_order() -> None:
    assert order_best(floats(1, 2, 2, 2, 3, 2)).tolist() == [4, 1, 2, 3, 5, 0]
    assert order_best(floats()).tolist() == []


def test_candidates_of_several_corpora_have_one_scale() -> None:
    """A small corpus whose best text is a weak match does not rise to the top, as it would if each were normalised."""
    keyword, cosine = floats(20, 18, 2, 1), floats(0.8, 0.7, 0.3, 0.2)
    signals = scale_signals(keyword, cosine, missing=np.zeros(4, dtype=bool), floor=0.0)
    assert order_best(complete_scores(signals, 0.4)).tolist() == [0, 1, 2, 3]


def slow_match(query: list[int], documents: list[list[int]], vectors: np.ndarray, rarity: np.ndarray) -> list[float]:
    def cosine(left: int, right: int) -> float:
        size = float(np.linalg.norm(vectors[left]) * np.linalg.norm(vectors[right]))
        return float(vectors[left] @ vectors[right]) / size if size else 0.0

    scores = []
    for document in documents:
        total = weight = 0.0
        for token in set(query):
            best = max((max(0.0, cosine(token, other)) for other in document), default=0.0)
            total += float(rarity[token]) * best
            weight += float(rarity[token])
        scores.append(total / weight if weight else 0.0)
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_token_match_is_the_weighted_best_cosine_of_each_token(seed: int) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(50, 8)).astype(np.float32)
    vectors[7] = 0
    rarity = generator.uniform(0.1, 5, 50).astype(np.float32)
    documents = [sorted(set(generator.integers(0, 50, size).tolist())) for size in (4, 0, 1, 12, 0)]
    query = generator.integers(0, 50, 6).tolist()
    flat = np.array([token for document in documents for token in document], dtype=np.uint16)
    sizes = np.array([len(document) for document in documents], dtype=np.int64)
    scores = TokenMatcher(vectors).match(np.array(query, dtype=np.uint16), flat, sizes, rarity)
    np.testing.assert_allclose(scores, slow_match(query, documents, vectors, rarity), atol=1e-5)


def test_token_match_of_the_same_tokens_is_one_and_of_none_zero() -> None:
    vectors = np.eye(4, dtype=np.float32) * 3
    matcher = TokenMatcher(vectors)
    rarity = floats(1, 1, 1, 7)
    tokens = np.array([0, 3], dtype=np.uint16)
    sizes = np.array([2, 0], dtype=np.int64)
    np.testing.assert_allclose(matcher.match(tokens, tokens, sizes, rarity), [1, 0])
    np.testing.assert_allclose(matcher.match(tokens[:0], tokens, sizes, rarity), [0, 0])
    rare_only = np.array([3], dtype=np.uint16)
    np.testing.assert_allclose(matcher.match(tokens, rare_only, np.array([1]), rarity), [7 / 8])


def test_rarity_is_the_inverse_document_frequency_of_bm25() -> None:
    rarity = rarity_of(np.array([0, 1, 10, 1000]), 1000)
    expected = [math.log(1 + (1000 - count + 0.5) / (count + 0.5)) for count in (0, 1, 10, 1000)]
    np.testing.assert_allclose(rarity, expected, rtol=1e-5)
    assert rarity_of(np.array([0]), 0)[0] > 0
