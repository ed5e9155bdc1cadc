"""Counts as plain numbers: what they are called, how several workers' are added up, how they cross a process border.

A cell is a list of floats: one for a counter or a gauge; for a histogram one for each bucket, one above the last, and
the sum. Counting is adding to a list that was looked up once: a tenth of what a Counter of prometheus-client with its
lock costs, which a worker with a single thread does not need.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Literal

import msgspec

Labels = tuple[str, ...]
MetricValue = list[float]

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0)
"""Seconds: a proxied request takes one millisecond, a chat as long as three minutes."""

OVERHEADS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
"""Seconds of our own: a tenth of a millisecond when all is well."""


class Family(msgspec.Struct, frozen=True):
    """Series that share a name (without the prefix `lakehouse_`), a meaning and the names of their labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()

    def cell(self) -> MetricValue:
        """A cell of this family in which nothing was counted."""
        return [0.0] * (len(self.buckets) + 2 if self.buckets else 1)


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One series: the values of its labels and its cell."""

    labels: Labels
    cell: MetricValue


Snapshot = dict[str, list[Row]]
"""Rows by the name of their family: all that was counted up to a moment."""


class MetricStore:
    """The cells of one worker."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = {family.name: family for family in families}
        self._cells: dict[str, dict[Labels, MetricValue]] = {name: {} for name in self._families}

    def cell(self, name: str, *labels: str) -> MetricValue:
        """The cell to count in. Keep it: it is the same list for as long as this worker lives."""
        cells = self._cells[name]
        try:
            return cells[labels]
        except KeyError:
            family = self._families[name]
            if len(labels) != len(family.labels):
                raise ValueError(f"{name} has the labels {family.labels}") from None
            return cells.setdefault(labels, family.cell())

    def snapshot(self) -> Snapshot:
        """A copy of everything."""
        return {name: [Row(k, cell[:]) for k, cell in cells.items()] for name, cells in self._cells.items()}

    def add(self, snapshot: Snapshot) -> None:
        """Add what another worker counted. What does not fit, from another version of us, is passed over."""
        for name, rows in snapshot.items():
            family = self._families.get(name)
            if family is None:
                continue
            for row in rows:
                if len(row.labels) == len(family.labels) and len(row.cell) == len(family.cell()):
                    cell = self.cell(name, *row.labels)
                    cell[:] = map(float.__add__, cell, row.cell)


def observe(cell: MetricValue, bounds: tuple[float, ...], value: float) -> None:
    """Count a value in a histogram's cell; a bucket holds what is up to its bound, the bound included."""
    cell[bisect_left(bounds, value)] += 1
    cell[-1] += value


def packed(snapshot: Snapshot) -> bytes:
    """A snapshot as bytes."""
    return msgspec.json.encode(snapshot)


def unpacked(data: bytes) -> Snapshot:
    """And back. Raises msgspec.DecodeError or UnicodeDecodeError when these bytes are none."""
    return _DECODER.decode(data)


_DECODER = msgspec.json.Decoder(Snapshot)
