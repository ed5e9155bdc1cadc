"""The registry of gauges: parts of the service register functions, which `/metrics` calls at each scrape."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from lakehouse.telemetry.metric_store import Family, Labels, MetricStore, Snapshot

logger = logging.getLogger("lakehouse.telemetry")

Readings = Iterable[tuple[Labels, float]]


class Gauge(NamedTuple):
    """A family of series, and the function that reads it: label values and the present number for each of them.

    Readings with the same labels are added up, also over several workers. Label values come from bounded tables, never
    from a request. `read` must not block.
    """

    family: Family
    read: Callable[[], Readings]


class GaugeRegistry:
    """The gauges of one process."""

    def __init__(self) -> None:
        self._gauges: dict[str, Gauge] = {}

    def register(self, *gauges: Gauge) -> None:
        """Add gauges. Raises ValueError for a registered name, or a family of another kind."""
        for gauge in gauges:
            if gauge.family.kind != "gauge":
                raise ValueError(f"{gauge.family.name} is a {gauge.family.kind}, not a gauge")
            if gauge.family.name in self._gauges:
                raise ValueError(f"a gauge {gauge.family.name} is registered already")
            self._gauges[gauge.family.name] = gauge

    @property
    def families(self) -> tuple[Family, ...]:
        """The registered families, in the order of registration."""
        return tuple(gauge.family for gauge in self._gauges.values())

    def snapshot(self) -> Snapshot:
        """Read all gauges. A gauge whose function raises is logged and left out."""
        store = MetricStore(self.families)
        for name, gauge in self._gauges.items():
            try:
                for labels, value in gauge.read():
                    store.cell(name, *labels)[0] += value
            except Exception:
                logger.exception("the gauge %s could not be read", name)
        return store.snapshot()
