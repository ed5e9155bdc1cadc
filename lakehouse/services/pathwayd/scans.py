"""Which rows a search reads: those of the condition that the fewest rows fulfil.

A database that plans such a search by itself expects the rows of a condition to be spread evenly, and reads all traces
for a rare tag whose traces are old.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from lakehouse.services.pathwayd.trace_rows import TraceFilter

MAX_COUNTED = 2_000
"""Rows that are counted of each condition before a search."""


class Tagged(NamedTuple):
    """The scan of the rows that have a tag."""

    tag: str


Scan = Tagged | Literal["state", "all"]
"""Which rows a search reads: those with a tag, those of the filter's state, or all."""


def choose_scan(wanted: TraceFilter, count: Callable[[Sequence[Scan]], Sequence[int]]) -> Scan:
    """The condition whose rows are read, the newest first: that which the fewest rows of the span fulfil.

    `count` counts the rows of each up to `MAX_COUNTED`. Of conditions that more rows fulfil, the first is chosen: the
    limit of the search probably ends the scan soon.
    """
    scans: list[Scan] = [Tagged(tag) for tag in wanted.tags]
    if wanted.state != "all":
        scans.append("state")
    if len(scans) < 2:
        return scans[0] if scans else "all"
    return min(zip(count(scans), scans, strict=True), key=lambda counted: counted[0])[1]
