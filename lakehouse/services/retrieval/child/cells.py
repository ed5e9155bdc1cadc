"""The approximate search of a large index: its rows in cells around centroids, of which a search looks into a few.

An index may be searched so if its options permit it (`approximate`), and it is only if that pays (`cell_builder`).
Distances are those of the exact scan. Rows that were added since the cells were made are all compared. A search with a
filter is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lakehouse.services.contracts.retrieval import Distance
from lakehouse.services.retrieval.child.products import Pack, PackedBlock
from lakehouse.services.retrieval.child.quantization import Quantized, quantize, quantize_queries
from lakehouse.services.retrieval.child.scan import Floats, Found, Mask, Positions, Rows, exact_scores

MIN_ROWS = 100_000
"""Rows from which cells are tried: the exact scan of fewer takes about 2 ms."""
MAX_TAIL = 0.1
"""The part of the rows that may be outside of the cells; beyond it searches are exact until the cells are made anew."""
MAX_K = 100
"""The largest number of results of an approximate search: the recall was measured for ten."""
ROWS_A_CELL = 400
TRAINED_A_CELL = 40
"""Rows of the sample by which a centroid is found."""
SAMPLE_ROWS = 100_000
ITERATIONS = 6
ASSIGN_SLICE = 4096
RESCORED = 4
"""Rows for each result that are compared in float32."""


class Cell(NamedTuple):
    """The rows of a cell: their positions, their packed codes, the scale of each."""

    positions: Positions
    packed: PackedBlock
    scale: Floats


class Cells:
    """The cells of an index. `length` is the number of rows in them."""

    def __init__(self, distance: Distance, centroids: Floats, cells: list[Cell], length: int) -> None:
        self.length = length
        self.probes = 0
        """The cells that a search looks into; 0 if the cells are not used."""
        self.recall = 0.0
        """The part of the ten nearest items that a sample of searches found."""
        self._distance = distance
        self._centroids = centroids
        self._bias = np.vecdot(centroids, centroids) / 2 if distance == "euclidean" else np.zeros(len(centroids))
        self._cells = cells

    @property
    def nbytes(self) -> int:
        """The memory of the cells."""
        own = sum(cell.packed.nbytes + cell.positions.nbytes + cell.scale.nbytes for cell in self._cells)
        return own + self._centroids.nbytes

    def serves(self, rows: Rows, k: int) -> bool:
        """Whether a search for `k` results is answered from the cells."""
        return bool(self.probes) and k <= MAX_K and rows.packed.length - self.length <= MAX_TAIL * self.length

    def search(
        self, rows: Rows, queries: Floats, k: int, *, probes: int = 0, check: Callable[[], None] = lambda: None
    ) -> list[Found]:
        """The `k` nearest rows of the cells that are nearest to each query, and of those that are in no cell.

        `check` is called between the queries, and raises to give up.
        """
        quantized = quantize_queries(queries, rows.norm, rows.distance)
        nearest = queries @ self._centroids.T - self._bias
        count = min(probes or self.probes, len(self._cells))
        chosen = np.argpartition(nearest, len(self._cells) - count, axis=1)[:, len(self._cells) - count :]
        tail = self._scan_tail(rows, quantized)
        found = []
        for at, query in enumerate(queries):
            check()
            cells = [self._cells[number] for number in chosen[at].tolist()]
            code = quantized.codes[at : at + 1]
            products = [np.asarray(cell.packed.multiply(code))[0] * cell.scale for cell in cells]
            positions = np.concatenate(
                [*(cell.positions for cell in cells), np.arange(self.length, rows.packed.length)]
            )
            scores = np.concatenate([*products, tail[at]]).astype(np.float32)
            if self._distance == "euclidean":
                scores -= rows.norm[positions] ** 2 / 2 / quantized.scale[at]
            found.append(_rescore(rows, query, positions, scores, k))
        return found

    def _scan_tail(self, rows: Rows, quantized: Quantized) -> Floats:
        scores = np.empty((len(quantized.codes), rows.packed.length - self.length), np.float32)
        if scores.shape[1]:
            rows.packed.multiply_from(self.length, quantized.codes, rows.scale, scores)
        return scores


def _rescore(rows: Rows, query: Floats, positions: Positions, scores: Floats, k: int) -> Found:
    usable: Mask = rows.usable[positions]
    positions, scores = positions[usable], scores[usable]
    kept = RESCORED * k + 16
    if len(scores) > kept:
        best = np.argpartition(scores, len(scores) - kept)[len(scores) - kept :]
        positions = positions[best]
    exact = exact_scores(rows.floats.take(positions), query, rows.distance)
    order = np.lexsort((positions, -exact))[:k]
    return Found(positions[order], exact[order])


def make_cells(distance: Distance, quantized: Quantized, sample: Floats, pack: Pack) -> Cells:
    """Make the cells of rows. `sample` has some of their vectors, at random."""
    count = max(16, len(quantized.codes) // ROWS_A_CELL)
    centroids = _find_centroids(sample[: count * TRAINED_A_CELL], count, pack)
    numbers = _assign(quantized, centroids, distance, pack)
    order = np.argsort(numbers, kind="stable")
    filled = np.unique(numbers)
    borders = [*np.searchsorted(numbers[order], filled).tolist(), len(numbers)]
    cells = []
    for start, stop in pairwise(borders):
        positions = order[start:stop]
        codes = np.ascontiguousarray(quantized.codes[positions])
        cells.append(Cell(positions, pack(codes), quantized.scale[positions]))
    return Cells(distance, centroids[filled], cells, len(numbers))


def _find_centroids(sample: Floats, count: int, pack: Pack) -> Floats:
    """Centroids by k-means with int8 products."""
    rng = np.random.default_rng(0)
    centroids = sample[rng.permutation(len(sample))[:count]].copy()
    quantized = quantize(sample)
    for _ in range(ITERATIONS):
        numbers = _assign(quantized, centroids, "euclidean", pack)
        sizes = np.bincount(numbers, minlength=len(centroids))
        order = np.argsort(numbers, kind="stable")
        filled = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[filled]
        centroids[filled] = np.add.reduceat(sample[order], starts, axis=0) / sizes[filled, None]
    return centroids


def _assign(quantized: Quantized, centroids: Floats, distance: Distance, pack: Pack) -> NDArray[np.int64]:
    """The nearest centroid of each row."""
    own = quantize(centroids)
    packed = pack(own.codes)
    bias = own.norm**2 / 2 if distance == "euclidean" else np.zeros(len(centroids), np.float32)
    numbers = np.empty(len(quantized.codes), np.int64)
    for start in range(0, len(numbers), ASSIGN_SLICE):
        codes = quantized.codes[start : start + ASSIGN_SLICE]
        products = np.asarray(packed.multiply(codes), np.float32) * own.scale
        scores = products - bias / quantized.scale[start : start + ASSIGN_SLICE, None]
        numbers[start : start + ASSIGN_SLICE] = scores.argmax(axis=1)
    return numbers
