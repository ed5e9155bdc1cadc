"""Gauges by registration: each part of the service registers how its states are read, and `/metrics` reads them all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from lakehouse.telemetry.metric_store import Family, Labels, MetricStore, Snapshot

logger = logging.getLogger("lakehouse.telemetry")

Readings = Iterable[tuple[Labels, float]]


class Gauge(NamedTuple):
    """A family of series and how it is read: the labels' values and the number of each, at the moment of the question.

    Several readings with the same labels are added up, and so are those of several workers. Labels take their values
    from bounded tables, never from a request. Reading must not wait.
    """

    family: Family
    read: Callable[[], Readings]


class GaugeRegistry:
    """Every gauge of one process."""

    def __init__(self) -> None:
        self._gauges: dict[str, Gauge] = {}

    def register(self, *gauges: Gauge) -> None:
        """Add gauges. Raises ValueError for a name that is taken, or a family of another kind."""
        for gauge in gauges:
            if gauge.family.kind != "gauge":
                raise ValueError(f"{gauge.family.name} is a {gauge.family.kind}, not a gauge")
            if gauge.family.name in self._gauges:
                raise ValueError(f"a gauge {gauge.family.name} is registered already")
            self._gauges[gauge.family.name] = gauge

    @property
    def families(self) -> tuple[Family, ...]:
        """What is registered, in that order."""
        return tuple(gauge.family for gauge in self._gauges.values())

    def snapshot(self) -> Snapshot:
        """How everything stands. A gauge that cannot be read is logged and left out, and the others are there."""
        states = MetricStore(self.families)
        for name, gauge in self._gauges.items():
            try:
                for labels, value in gauge.read():
                    states.cell(name, *labels)[0] += value
            except Exception:
                logger.exception("the gauge %s could not be read", name)
        return states.snapshot()
