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
from lakehouse.services.retrieval.child.quantization import ROUNDING, quantize

MAX_SCORES = 4_000_000
"""Scores of one product: more do not fit into the cache of a processor, and take longer for each."""
MAX_GATHERED = 256
"""Candidates that are compared in float32 at once, without a product of all rows."""
GATHER_SHARE = 0.03
"""The part of the rows below which the vectors of a mask are gathered: the product of all rows takes longer."""
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
    if count == 0:
        return [NOTHING] * len(queries)
    if count <= max(MAX_GATHERED, 2 * k, int(GATHER_SHARE * len(usable)) if mask is not None else 0):
        positions = np.flatnonzero(usable)
        return [_best(positions, _gather_scores(rows, query, positions, check), k) for query in queries]
    blocked = rows.blocked if mask is None else np.flatnonzero(~usable)
    found: list[Found] = []
    step = max(1, MAX_SCORES // len(usable))
    for start in range(0, len(queries), step):
        check()
        found += _scan_product(rows, queries[start : start + step], k, blocked, check)
    return found


def _gather_scores(rows: Rows, query: Floats, positions: Positions, check: Callable[[], None]) -> Floats:
    scores = np.empty(len(positions), np.float32)
    for start in range(0, len(positions), 8192):
        check()
        part = positions[start : start + 8192]
        scores[start : start + 8192] = exact_scores(rows.floats.take(part), query, rows.distance)
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
    quantized = quantize(queries)
    length = rows.packed.length
    scores = np.empty((len(queries), length), np.float32)
    rows.packed.multiply(quantized.codes, rows.scale, scores)
    if rows.distance == "euclidean":  # half of the square of the distance, but for the square of the query
        scores -= (rows.norm * rows.norm / 2)[None, :] / quantized.scale[:, None]
    if len(blocked):
        scores[:, blocked] = -np.inf
    bounds = _lower_bounds(scores, k)
    found: list[Found] = []
    for row, bound, query, scale, error, norm in zip(
        scores, bounds, queries, quantized.scale, quantized.error, quantized.norm, strict=True
    ):
        check()
        first = np.flatnonzero(row >= bound if bound > -np.inf else row > bound)
        exact = exact_scores(rows.floats.take(first), query, rows.distance)
        best = _best(first, exact, k)
        rest = _find_rest(rows, row, float(bound), float(best.scores[-1]), _Query(scale, error, norm))
        if len(rest):
            exact = np.concatenate([exact, exact_scores(rows.floats.take(rest), query, rows.distance)])
            best = _best(np.concatenate([first, rest]), exact, k)
        found.append(best)
    return found


def _lower_bounds(scores: Floats, k: int) -> Floats:
    """For each query a score that at least `k` rows reach, and few more: the `k`-th best of the best of `STRIDE`."""
    length = scores.shape[1]
    columns = length // STRIDE
    if columns < 4 * k:
        return np.partition(scores, length - k, axis=1)[:, length - k]
    best = scores[:, : columns * STRIDE].reshape(len(scores), STRIDE, columns).max(axis=1)
    return np.partition(best, columns - k, axis=1)[:, columns - k]


class _Query(NamedTuple):
    scale: np.float32
    error: np.float32
    norm: np.float32


def _find_rest(rows: Rows, scores: Floats, bound: float, worst: float, query: _Query) -> Positions:
    """The positions below `bound` whose score in float32 may reach `worst`."""
    scale, error, norm = float(query.scale), float(query.error), float(query.norm)
    if rows.distance == "euclidean":
        worst = (worst + norm * norm) / 2
    slack = norm * float(rows.error.max()) + error * float(rows.norm.max()) + abs(worst) * ROUNDING
    lowest = (worst - slack) / scale
    if lowest >= bound:
        return NOTHING.positions
    near = np.flatnonzero((scores >= lowest) & (scores < bound))
    reach = scores[near] * scale + norm * rows.error[near] + error * rows.norm[near]
    chosen: Positions = near[reach >= worst - abs(worst) * ROUNDING]
    return chosen
