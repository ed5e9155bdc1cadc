"""The exact scan: the nearest vectors to each of many queries, over all rows of an index or over those of a mask.

The int8 products of all rows give each row's score up to a known error. The `k` rows with the best of them are scored
again in float32; the worst of those, less the error, is a bound that no other row of the answer can be below. Every row
above the bound is then scored in float32 too. So the result is that of a comparison of all vectors in float32, and a
distance depends on the two vectors alone: not on other rows, nor on the queries of the same product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lakehouse.services.contracts.retrieval import Distance
from lakehouse.services.retrieval.child.products import PackedRows
from lakehouse.services.retrieval.child.quantization import ROUNDING, quantize_queries

MAX_SCORES = 4_000_000
"""Scores of one product: more do not fit into the cache of a processor, and take longer for each."""
MAX_GATHERED = 256
"""Candidates that are compared in float32 at once, without a product of all rows."""
GATHER_SHARE = 0.03
"""The part of the rows below which the vectors of a mask are gathered: the product of all rows takes longer."""
COMPARED = 8192
"""Vectors that are copied and compared in float32 at once."""
STRIDE = 64

Floats = NDArray[np.float32]
Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]


class FloatRows(Protocol):
    """The vectors of the search space by position."""

    def take(self, positions: Positions) -> Floats:
        """Copy some of them."""


class Rows(NamedTuple):
    """What a scan reads. `usable` are the rows that are there and have a vector, `blocked` are all other positions."""

    distance: Distance
    packed: PackedRows
    floats: FloatRows
    scale: Floats
    error: Floats
    norm: Floats
    usable: Mask
    blocked: Positions


class Found(NamedTuple):
    """The result for one query: positions and scores (greater is nearer), the best first."""

    positions: Positions
    scores: Floats


NOTHING = Found(np.empty(0, np.int64), np.empty(0, np.float32))


def scan(rows: Rows, queries: Floats, k: int, mask: Mask | None, check: Callable[[], None]) -> list[Found]:
    """The best `k` rows for each query. `check` is called between products, and raises to give up."""
    usable = rows.usable if mask is None else rows.usable & mask
    count = int(np.count_nonzero(usable)) if mask is not None else len(usable) - len(rows.blocked)
    found: list[Found] = []
    if count == 0:
        return [NOTHING] * len(queries)
    if count <= max(MAX_GATHERED, 2 * k, int(GATHER_SHARE * len(usable)) if mask is not None else 0):
        positions = np.flatnonzero(usable)
        for query in queries:
            check()
            found.append(_best(positions, _gather_scores(rows, query, positions, check), k))
        return found
    blocked = rows.blocked if mask is None else np.flatnonzero(~usable)
    step = max(1, MAX_SCORES // len(usable))
    for start in range(0, len(queries), step):
        check()
        found += _scan_product(rows, queries[start : start + step], k, blocked, check)
    return found


def _gather_scores(rows: Rows, query: Floats, positions: Positions, check: Callable[[], None]) -> Floats:
    scores = np.empty(len(positions), np.float32)
    for start in range(0, len(positions), COMPARED):
        if start:
            check()
        part = positions[start : start + COMPARED]
        scores[start : start + COMPARED] = exact_scores(rows.floats.take(part), query, rows.distance)
    return scores


def exact_scores(vectors: Floats, query: Floats, distance: Distance) -> Floats:
    """The scores of vectors with one query, row by row; greater is nearer."""
    if distance == "euclidean":
        difference = vectors - query
        euclidean: Floats = -np.vecdot(difference, difference)
        return euclidean
    products: Floats = np.vecdot(vectors, query)
    return products


def to_distances(scores: Floats, distance: Distance) -> NDArray[np.float64]:
    """The distances that belong to scores."""
    wide = scores.astype(np.float64)
    if distance == "cosine":
        return np.clip(1 - wide, 0, 2)
    if distance == "dot":
        return -wide + 0.0
    return np.sqrt(-wide + 0.0)


def _best(positions: Positions, scores: Floats, k: int) -> Found:
    if len(scores) > 4 * k + 64:
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = np.flatnonzero(scores >= bound)
        positions, scores = positions[chosen], scores[chosen]
    order = np.lexsort((positions, -scores))[:k]
    return Found(positions[order], scores[order])


def _scan_product(rows: Rows, queries: Floats, k: int, blocked: Positions, check: Callable[[], None]) -> list[Found]:
    quantized = quantize_queries(queries, rows.norm, rows.distance)
    scores = np.empty((len(queries), rows.packed.length), np.float32)
    rows.packed.multiply(quantized.codes, rows.scale, scores)
    if rows.distance == "euclidean":  # half of the square of the distance, but for the square of the query
        scores -= (rows.norm * rows.norm / 2)[None, :] / quantized.scale[:, None]
    if len(blocked):
        scores[:, blocked] = -np.inf
    bounds = _lower_bounds(scores, k).tolist()
    slacks = quantized.norm * rows.error.max() + quantized.error * rows.norm.max()
    parts = (scores, queries, bounds, quantized.scale.tolist(), quantized.error.tolist(), quantized.norm.tolist())
    found: list[Found] = []
    for row, query, bound, scale, error, norm, slack in zip(*parts, slacks.tolist(), strict=True):
        check()
        found.append(_rescore(rows, row, query, k, _Query(bound, scale, error, norm, slack), check))
    return found


class _Query(NamedTuple):
    """What is known of one query: a score that `k` rows reach, its quantization, the error of the scores."""

    bound: float
    scale: float
    error: float
    norm: float
    slack: float


def _rescore(rows: Rows, scores: Floats, query: Floats, k: int, known: _Query, check: Callable[[], None]) -> Found:
    """Compare in float32 the rows with the best scores, and then all that may be better than the worst of these.

    These are some tens of rows, or nearly all where the rows differ by less than the error of their codes.
    """
    first = np.flatnonzero(scores >= known.bound if known.bound > -np.inf else scores > known.bound)
    exact = _gather_scores(rows, query, first, check)
    worst = float(np.partition(exact, len(exact) - k)[len(exact) - k])
    rest = _find_rest(rows, scores, worst, known)
    if len(rest):
        exact = np.concatenate([exact, _gather_scores(rows, query, rest, check)])
        first = np.concatenate([first, rest])
    return _best(first, exact, k)


def _find_rest(rows: Rows, scores: Floats, worst: float, known: _Query) -> Positions:
    """The positions below the bound whose score in float32 may reach `worst`."""
    if rows.distance == "euclidean":
        worst = (worst + known.norm * known.norm) / 2
    worst -= abs(worst) * ROUNDING
    lowest = (worst - known.slack) / known.scale
    if lowest >= known.bound:
        return NOTHING.positions
    near = np.flatnonzero(scores >= lowest)
    own = scores[near]
    reach = own * known.scale + known.norm * rows.error[near] + known.error * rows.norm[near]
    chosen: Positions = near[(reach >= worst) & (own < known.bound)]
    return chosen


def _lower_bounds(scores: Floats, k: int) -> Floats:
    """For each query a score that at least `k` rows reach, and few more: the `k`-th best of the best of `STRIDE`."""
    length = scores.shape[1]
    columns = length // STRIDE
    if columns < 4 * k:
        return np.partition(scores, length - k, axis=1)[:, length - k]
    best = scores[:, : columns * STRIDE].reshape(len(scores), STRIDE, columns).max(axis=1)
    return np.partition(best, columns - k, axis=1)[:, columns - k]
