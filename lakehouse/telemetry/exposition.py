"""The sums of the workers' metrics in the text formats of Prometheus, written with `prometheus-client`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import inf

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from lakehouse.telemetry.metric_definitions import METRIC_FAMILIES
from lakehouse.telemetry.metric_store import Family, MetricStore, MetricValue, Snapshot


def render_exposition(
    snapshots: Iterable[Snapshot], accept: str = "", *, families: Sequence[Family] = METRIC_FAMILIES
) -> tuple[bytes, str]:
    """Add up snapshots. Returns the text, in the format that the `Accept` header asks for, and its content type."""
    total = MetricStore(families)
    for snapshot in snapshots:
        total.add(snapshot)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SnapshotCollector(total.snapshot(), families))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Snapshot, families: Sequence[Family]) -> None:
        self._snapshot = snapshot
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = _make_metric(family)
            for row in sorted(self._snapshot[family.name], key=lambda row: row.labels):
                _add_sample(metric, family, row.labels, row.cell)
            yield metric


_AnyFamily = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
_KINDS: dict[str, type[_AnyFamily]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _make_metric(family: Family) -> _AnyFamily:
    return _KINDS[family.kind](f"lakehouse_{family.name}", family.help, labels=family.labels)


def _add_sample(metric: _AnyFamily, family: Family, labels: tuple[str, ...], cell: MetricValue) -> None:
    if not isinstance(metric, HistogramMetricFamily):
        metric.add_metric(labels, cell[0])
        return
    buckets, seen = [], 0.0
    for bound, count in zip((*family.buckets, inf), cell, strict=False):
        seen += count
        buckets.append(("+Inf" if bound == inf else repr(bound), seen))
    metric.add_metric(labels, buckets, sum_value=cell[-1])
