"""Vectors as bytes of float32, without numpy: as JSON, cut to fewer components, compared."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable
from functools import lru_cache

FLOAT_SIZE = 4


def pack(values: Iterable[float]) -> bytes:
    """The bytes of a vector. Raises OverflowError for a value beyond float32, TypeError for one that is no number."""
    packed = array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpack(vector: bytes) -> array[float]:
    """The components of a vector."""
    unpacked = array("f", vector)
    if sys.byteorder == "big":
        unpacked.byteswap()
    return unpacked


def is_finite(vector: bytes) -> bool:
    """Whether no component is infinite or not a number."""
    return math.isfinite(math.fsum(map(abs, unpack(vector))))


def to_json(vector: bytes) -> bytes:
    """A JSON array. Nine digits give the same float32 back."""
    return (_template(len(vector) // FLOAT_SIZE) % tuple(unpack(vector))).encode()


@lru_cache(64)
def _template(dimension: int) -> str:
    return "[" + ",".join(["%.9g"] * dimension) + "]"


def cut(vector: bytes, dimension: int) -> bytes:
    """The first components, with the length of one. For models whose first components carry the most meaning."""
    values = unpack(vector[: dimension * FLOAT_SIZE])
    length = math.sqrt(math.fsum(value * value for value in values))
    return pack(value / length for value in values) if length > 0 else pack(values)


def cosine(left: bytes, right: bytes) -> float:
    """The cosine of two vectors of the same dimension; 0 if one of them is zero."""
    a, b = unpack(left), unpack(right)
    lengths = math.sqrt(_product(a, a) * _product(b, b))
    return _product(a, b) / lengths if lengths > 0 else 0.0


def _product(a: Iterable[float], b: Iterable[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
