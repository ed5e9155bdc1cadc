"""Checks of texts and vectors that hold for every embedding model."""

from __future__ import annotations

from collections.abc import Sequence

from lakehouse.core.errors import ErrBadRequest, ErrUpstream
from lakehouse.services.embedding.cache import Embedded
from lakehouse.services.embedding.selection import Selection

MAX_TEXTS = 4_096
"""Texts of one request."""


def check_texts(texts: Sequence[str]) -> None:
    """Raises ErrBadRequest for too many texts, and for an empty one with its position."""
    if len(texts) > MAX_TEXTS:
        raise ErrBadRequest(f"`texts` has {len(texts)} texts: at most {MAX_TEXTS} at a time", field="texts")
    for position, text in enumerate(texts):
        if not text:
            raise ErrBadRequest(f"`texts[{position}]` is empty", field=f"texts[{position}]", details={"item": position})


def check_dimensions(entries: Sequence[Embedded], selection: Selection) -> None:
    """Raises ErrUpstream if the vectors differ in their dimension."""
    if have_other_dimensions(entries):
        raise ErrUpstream(f"the vectors of the model {selection.name} differ in their dimension")


def have_other_dimensions(entries: Sequence[Embedded]) -> bool:
    """Whether the vectors differ in their dimension."""
    return len({len(entry.vector) for entry in entries}) > 1


def wrong_dimension(selection: Selection, offered: str) -> ErrBadRequest:
    """The error for a dimension that the model does not offer."""
    return ErrBadRequest(
        f"`dimension` must be {offered} for the model {selection.name}, or be left out", field="dimension"
    )
