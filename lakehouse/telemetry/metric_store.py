"""Metric values as lists of floats: storing, adding up over workers, and encoding for other processes.

A cell is a list of floats: one for a counter or a gauge; for a histogram one for each bucket, one for larger values,
and the sum. Counting adds to a list that was looked up once, at a tenth of the cost of a `Counter` of
prometheus-client, whose lock a worker with a single thread does not need.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Literal

import msgspec

Labels = tuple[str, ...]
MetricValue = list[float]

DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0)
"""Seconds: a proxied request takes one millisecond, a chat up to three minutes."""

OVERHEADS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
"""Seconds spent in this service itself: normally a tenth of a millisecond."""


class Family(msgspec.Struct, frozen=True):
    """The series of one name (without the prefix `lakehouse_`): kind, help text, label names and bucket bounds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()

    def cell(self) -> MetricValue:
        """Make a cell of this family, of zeros."""
        return [0.0] * (len(self.buckets) + 2 if self.buckets else 1)


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One series: its label values and its cell."""

    labels: Labels
    cell: MetricValue


Snapshot = dict[str, list[Row]]
"""Rows by the name of their family, at one moment."""


class MetricStore:
    """The cells of one worker, by family and label values."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = {family.name: family for family in families}
        self._cells: dict[str, dict[Labels, MetricValue]] = {name: {} for name in self._families}

    def cell(self, name: str, *labels: str) -> MetricValue:
        """Return the cell of a series. Callers may keep it: the same list is used for the lifetime of the store."""
        cells = self._cells[name]
        try:
            return cells[labels]
        except KeyError:
            family = self._families[name]
            if len(labels) != len(family.labels):
                raise ValueError(f"{name} has the labels {family.labels}") from None
            return cells.setdefault(labels, family.cell())

    def snapshot(self) -> Snapshot:
        """Copy all cells."""
        return {name: [Row(k, cell[:]) for k, cell in cells.items()] for name, cells in self._cells.items()}

    def add(self, snapshot: Snapshot) -> None:
        """Add the snapshot of another worker. Series with other labels, from another version, are skipped."""
        for name, rows in snapshot.items():
            family = self._families.get(name)
            if family is None:
                continue
            for row in rows:
                if len(row.labels) == len(family.labels) and len(row.cell) == len(family.cell()):
                    cell = self.cell(name, *row.labels)
                    cell[:] = map(float.__add__, cell, row.cell)


def observe(cell: MetricValue, bounds: tuple[float, ...], value: float) -> None:
    """Count a value in a histogram's cell. Bounds are inclusive upper bounds."""
    cell[bisect_left(bounds, value)] += 1
    cell[-1] += value


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Encode a snapshot as JSON."""
    return msgspec.json.encode(snapshot)


def decode_snapshot(data: bytes) -> Snapshot:
    """Decode a snapshot. Raises msgspec.DecodeError or UnicodeDecodeError for other bytes."""
    return _DECODER.decode(data)


_DECODER = msgspec.json.Decoder(Snapshot)
