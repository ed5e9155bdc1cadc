"""The selection of candidate types from the first rows of a column."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from lakehouse.services.engines.writer_child.type_candidates import WORDS, Candidate, find_candidates

RESEMBLING = re.compile(
    r"\s*(?:[-+(#$€£]{0,3}\s*[0-9][-0-9\s.,:/()_'+%]*(?:[eE][-+]?[0-9]+|[TZ][0-9:.+Z]*)?|0[xX][0-9a-fA-F]+|"
    r"[-+]?(?:nan|inf|infinity)|true|false)\s*",
    re.IGNORECASE,
)
"""Texts that look like a number, a date or a truth value, and do not come back from any type."""
COMPARED = 200


@dataclass(slots=True, kw_only=True)
class ColumnSample:
    """What the first rows say about a column of text.

    `candidates` are the types that all values fit; `decided` is the position of the row that left none. `has_number` is
    false if all values were words such as nan, or NULL.
    """

    candidates: list[Candidate] = field(default_factory=list)
    decided: int | None = None
    value: str = ""
    """The value of the row that decided."""
    seen: int = 0
    """The number of values that are not NULL."""
    resembling: int = 0
    has_number: bool = False
    late: bool = False
    """Whether the first value had a type, and a later one left none."""

    @property
    def warns(self) -> bool:
        """Whether the column looks like one of numbers, dates or truth values, and is text all the same."""
        return self.decided is not None and (self.late or 2 * self.resembling >= min(self.seen, COMPARED))


def sample_column(values: Iterable[str | None]) -> ColumnSample:
    """Select the candidates for a column from its first values."""
    sample = ColumnSample()
    for position, value in enumerate(values):
        if value is None:
            continue
        sample.seen += 1
        sample.has_number = sample.has_number or value not in WORDS
        if sample.decided is None:
            _narrow(sample, position, value)
        if sample.decided is not None:
            if sample.seen > COMPARED:
                break
            sample.resembling += RESEMBLING.fullmatch(value) is not None
        elif sample.seen <= COMPARED:
            sample.resembling += 1
    return sample


def _narrow(sample: ColumnSample, position: int, value: str) -> None:
    """Drop the candidates that a value does not fit."""
    if sample.seen == 1:
        sample.candidates = find_candidates(value)
    else:
        sample.candidates = [candidate for candidate in sample.candidates if candidate.fits(value)]
    if not sample.candidates:
        sample.decided, sample.value, sample.late = position, value, sample.seen > 1
