"""Vectors as numbers: directions for cosines, and what an index cannot compare.

Servers that are asked for cosines divide a vector by its length in float32, which is zero for a tiny one. So they are
sent directions of length one, and the length is kept beside them.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.retrieval import Distance

MAX_COMPONENT = 1e16
"""The largest component of a vector that is not compared by its direction."""


def unpack(vector: bytes, distance: Distance) -> list[float]:
    """The components of a vector as a server gets them."""
    components = array("f", vector).tolist()
    if distance != "cosine":
        return components
    norm = math.hypot(*components) or 1.0
    return [component / norm for component in components]


def measure(vector: bytes, distance: Distance) -> float:
    """The length of a vector of which the direction is sent; 0 for others."""
    return math.hypot(*array("f", vector)) if distance == "cosine" else 0.0


def restore(components: Sequence[float], norm: float, distance: Distance) -> bytes:
    """The vector as it was given, within rounding."""
    scale = norm / (math.hypot(*components) or 1.0) if distance == "cosine" else 1.0
    return array("f", [component * scale for component in components]).tobytes()


def check_copied(item: str, vector: bytes, distance: Distance) -> None:
    """Refuse the vector of an item of another index that this distance cannot compare. Raises ErrBadRequest."""
    components, problem = array("f", vector), ""
    if distance == "cosine" and components and not any(components):
        problem = "has a norm of zero, and the cosine needs a direction"
    elif distance != "cosine" and any(abs(component) > MAX_COMPONENT for component in components):
        problem = f"has a component beyond {MAX_COMPONENT:g}"
    if problem:
        raise ErrBadRequest(f"the vector of the item {item!r} of `source` {problem}", field="source")
