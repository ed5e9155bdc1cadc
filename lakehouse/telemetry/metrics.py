"""The metrics of one worker, to which each ended request is added.

The values of labels come from the configuration. A route, provider or upstream that is not configured is counted under
`other`, so that clients cannot create series.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.attempts import AttemptRecord
from lakehouse.core.context import AskRecord, RequestContext, Usage
from lakehouse.core.failure_classes import ERROR_CLASSES
from lakehouse.telemetry.access_log import logged_status
from lakehouse.telemetry.gauges import GaugeRegistry
from lakehouse.telemetry.metric_definitions import METRIC_FAMILIES
from lakehouse.telemetry.metric_store import DURATIONS, OVERHEADS, MetricStore, MetricValue, Snapshot, observe
from lakehouse.telemetry.service_gauges import (
    OTHER,
    Pool,
    circuit_gauge,
    connection_gauge,
    pool_gauges,
    process_gauges,
    request_gauge,
)

OUTCOMES = frozenset({"answered", "client left", "deadline", "drain", "stopped", "cancelled", "failed"})
_RESULTS = frozenset({"ok", "cancelled", *ERROR_CLASSES})
_REASON_COUNTERS = {"retry": "retries", "fallback": "fallbacks", "hedge": "hedges", "resume": "resumes"}
_SWITCHING_PROTOCOLS = 101
_GAUGES = {family.name for family in METRIC_FAMILIES if family.kind == "gauge"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelValues:
    """The allowed values of labels. `routes` maps each route to its upstream, or to "" for a route of this service."""

    routes: Mapping[str, str] = field(default_factory=dict)
    providers: Collection[str] = ()
    tiers: Collection[str] = ()
    upstreams: Collection[str] = ()


def _no_pools() -> Iterable[Pool]:
    return ()


@dataclass(kw_only=True, slots=True)
class GaugeSources:
    """The functions and objects from which gauges are read at each scrape.

    `circuits` returns the number of routes with an open circuit for each provider. Other parts of the service register
    their own gauges in `gauges`.
    """

    active_requests: ActiveRequests = field(default_factory=ActiveRequests)
    pools: Callable[[], Iterable[Pool]] = _no_pools
    circuits: Callable[[], Mapping[str, int]] = dict
    connections: Callable[[], int] = int
    lines_dropped: Callable[[], int] = int
    rows_dropped: Callable[[], int] = int
    gauges: GaugeRegistry = field(default_factory=GaugeRegistry)


class _RequestCells(NamedTuple):
    requests: MetricValue
    total: MetricValue
    upstream: MetricValue
    own: MetricValue
    first_piece: MetricValue


class Metrics:
    """The counters and histograms of one worker; `worker` is its number."""

    def __init__(self, names: LabelValues, sources: GaugeSources, *, worker: int = 0) -> None:
        self._routes: dict[str, str] = {}
        self._providers: set[str] = set()
        self._tiers: set[str] = set()
        self._pools: set[str] = set()
        self.allow_labels(names)
        self._sources = sources
        self._worker = str(worker)
        sources.gauges.register(
            request_gauge(sources.active_requests, self._routes),
            connection_gauge(self._connections),
            circuit_gauge(sources.circuits, self._providers),
            *pool_gauges(sources.pools, self._pools),
            *process_gauges(self._worker),
        )
        self._store = MetricStore(family for family in METRIC_FAMILIES if family.name not in _GAUGES)
        self._cells: dict[tuple[str, str | None, int], _RequestCells] = {}
        self._cpu_before = 0.0
        self._lines_before = self._rows_before = 0

    def allow_labels(self, names: LabelValues) -> None:
        """Count these names under their own labels, too. Former ones stay: what they have counted is reported."""
        self._routes.update(names.routes)
        self._providers.update(names.providers)
        self._tiers.update(names.tiers)
        self._pools.update(names.upstreams, names.providers)

    def _connections(self) -> int:
        return self._sources.connections()  # set once the server listens

    def count_request(self, context: RequestContext, ended: float) -> None:
        """Count a request that ended at `ended` (trio's clock)."""
        status = logged_status(context) or 0
        try:
            cells = self._cells[context.route, context.outcome, status // 100]
        except KeyError:
            cells = self._resolve_cells(context.route, context.outcome, status // 100)
        cells.requests[0] += 1
        if status != _SWITCHING_PROTOCOLS:  # the duration of a WebSocket depends on its users
            total = ended - context.started
            upstream = context.upstream_seconds
            observe(cells.total, DURATIONS, total)
            observe(cells.own, OVERHEADS, total - upstream if total > upstream else 0.0)
            if upstream:
                observe(cells.upstream, DURATIONS, upstream)
            if context.first_piece is not None:
                observe(cells.first_piece, DURATIONS, context.first_piece - context.started)
        for record in context.attempts:
            self._count_attempt(record, ended)
        if context.usage is not None:
            self._count_usage(context.provider, context.tier, context.usage)
        if context.ask is not None:
            self._count_ask(context.route, context.ask)

    def restore(self, snapshot: Snapshot) -> None:
        """Add the counts of the previous worker with the same number, so that counters go on from there."""
        self._store.add(snapshot)

    def count_snapshot(self) -> Snapshot:
        """Copy the counters and histograms, which are persisted across restarts of the worker."""
        self._count_process()
        return self._store.snapshot()

    def snapshot(self) -> Snapshot:
        """Copy counters, histograms and gauges."""
        return self.count_snapshot() | self._sources.gauges.snapshot()

    def _resolve_cells(self, route: str, outcome: str | None, hundreds: int) -> _RequestCells:
        configured = route in self._routes and outcome in OUTCOMES and 0 <= hundreds <= 5
        label = route if route in self._routes else OTHER
        ended_by = outcome if outcome in OUTCOMES else OTHER
        cell = self._store.cell
        cells = _RequestCells(
            cell("requests", label, ended_by, f"{hundreds}xx" if 1 <= hundreds <= 5 else "none"),
            cell("request_seconds", label),
            cell("upstream_seconds", label),
            cell("overhead_seconds", label),
            cell("first_piece_seconds", label),
        )
        if configured:  # other combinations are looked up each time: caching them would let clients fill the memory
            self._cells[route, outcome, hundreds] = cells
        return cells

    def _count_attempt(self, record: AttemptRecord, ended: float) -> None:
        cell = self._store.cell
        provider = record.upstream if record.upstream in self._providers else OTHER
        result = "cancelled" if record.ended is None else record.error or "ok"
        cell("attempts", provider, result if result in _RESULTS else OTHER)[0] += 1
        observe(cell("attempt_seconds", provider), DURATIONS, (record.ended or ended) - record.started)
        if record.why in _REASON_COUNTERS:
            cell(_REASON_COUNTERS[record.why], provider)[0] += 1

    def _count_usage(self, provider: str | None, tier: str | None, usage: Usage) -> None:
        cell = self._store.cell
        provider = provider if provider in self._providers else OTHER
        tier = tier if tier in self._tiers else ""
        cell("tokens", provider, tier, "input")[0] += usage.input_tokens or 0
        cell("tokens", provider, tier, "output")[0] += usage.output_tokens or 0
        cell("cached_tokens", provider, tier)[0] += usage.cached_tokens or 0
        cell("reasoning_tokens", provider, tier)[0] += usage.reasoning_tokens or 0
        cell("cost_usd", provider, tier)[0] += usage.cost_usd or 0.0

    def _count_ask(self, route: str, ask: AskRecord) -> None:
        cell = self._store.cell
        cell("asks", "found" if ask.passages else "none")[0] += 1
        observe(cell("retrieval_seconds", route if route in self._routes else OTHER), DURATIONS, ask.seconds)
        cell("claims", "yes")[0] += ask.claims - ask.uncited
        cell("claims", "no")[0] += ask.uncited

    def _count_process(self) -> None:
        """Add the usage of the process since the last call: a restored counter continues from its former value."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = used.ru_utime + used.ru_stime
        lines, rows = self._sources.lines_dropped(), self._sources.rows_dropped()
        self._store.cell("worker_cpu_seconds", self._worker)[0] += cpu - self._cpu_before
        self._store.cell("log_lines_dropped")[0] += lines - self._lines_before
        self._store.cell("table_rows_dropped")[0] += rows - self._rows_before
        self._cpu_before, self._lines_before, self._rows_before = cpu, lines, rows
