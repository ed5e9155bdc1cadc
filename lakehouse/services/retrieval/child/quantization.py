"""Vectors as int8 with one scale a row, and how far each row is from what it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lakehouse.services.contracts.retrieval import Distance

PEAK = 127
ROUNDING = 4e-6
"""The part of a vector's norm by which sums in float32 may be wrong: a bound for 16,384 components."""

MAX_SCORE = 1e37
"""The largest quotient of half of a row's square and the scale of a query, of which float32 can hold the sums."""
SMALLEST = np.finfo(np.float32).tiny
"""What may be lost of a number that is too small for float32."""


class Quantized(NamedTuple):
    """Rows as int8: row i is about `codes[i] * scale[i]`, and the norm of the difference is at most `error[i]`.

    `norm` is the norm of the row.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    error: NDArray[np.float32]
    norm: NDArray[np.float32]


def quantize_queries(queries: NDArray[np.float32], row_norms: NDArray[np.float32], distance: Distance) -> Quantized:
    """Quantize queries so that the squares of the rows' norms, which the Euclidean distance needs, can be scaled."""
    largest = float(row_norms.max()) if distance == "euclidean" else 0.0
    return quantize(queries, least_scale=largest * largest / MAX_SCORE)


def join_vectors(vectors: Sequence[bytes], dimension: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Join vectors of this dimension, one a row, with which of them are given; an empty one is a row of zeros."""
    blank = bytes(dimension * 4)
    rows = np.frombuffer(b"".join([vector or blank for vector in vectors]), "<f4").reshape(len(vectors), dimension)
    return rows, np.fromiter((bool(vector) for vector in vectors), np.bool_, len(vectors))


def to_search_space(vectors: NDArray[np.float32], distance: Distance) -> NDArray[np.float32]:
    """The vectors that are compared: of unit length for the cosine, otherwise as given."""
    if distance != "cosine":
        return vectors
    wide = vectors.astype(np.float64)
    norms = np.sqrt(np.vecdot(wide, wide))
    norms[norms == 0] = 1  # a row without a vector
    units: NDArray[np.float32] = (wide / norms[:, None]).astype(np.float32)
    return units


def quantize(vectors: NDArray[np.float32], *, least_scale: float = 0.0) -> Quantized:
    """Quantize rows, each by its largest component. No scale is less than `least_scale`."""
    peak = np.abs(vectors).max(axis=1)
    scale = np.maximum(peak / np.float32(PEAK), np.float32(least_scale))
    scale[scale == 0] = 1
    scaled = vectors / scale[:, None]  # its squares neither overflow nor vanish
    codes = np.clip(np.rint(scaled), -PEAK, PEAK).astype(np.int8)
    norm = scale * np.sqrt(np.vecdot(scaled, scaled))
    scaled -= codes
    error = scale * np.sqrt(np.vecdot(scaled, scaled)) + norm * np.float32(ROUNDING) + SMALLEST
    return Quantized(codes, scale.astype(np.float32), error.astype(np.float32), norm.astype(np.float32))
