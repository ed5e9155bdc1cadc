"""What a worker counts, and how each request adds to it.

Labels come from the configuration's tables. A route, provider or upstream that is in none of them is counted under
`other`, so that no caller can make series, whatever it asks for.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.attempts import AttemptRecord
from lakehouse.core.context import RequestContext, Usage
from lakehouse.core.failure_classes import ERROR_CLASSES
from lakehouse.telemetry.access_log import logged_status
from lakehouse.telemetry.gauges import GaugeRegistry
from lakehouse.telemetry.metric_definitions import FAMILIES
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

OUTCOMES = frozenset({"answered", "client left", "deadline", "drain", "cancelled", "failed"})
_RESULTS = frozenset({"ok", "cancelled", *ERROR_CLASSES})
_WHY = {"retry": "retries", "fallback": "fallbacks", "hedge": "hedges", "resume": "resumes"}
_SWITCHING_PROTOCOLS = 101
_GAUGES = {family.name for family in FAMILIES if family.kind == "gauge"}


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelValues:
    """The values that labels may take. Routes are given with the upstream behind each, an empty string for our own."""

    routes: Mapping[str, str] = field(default_factory=dict)
    providers: Collection[str] = ()
    tiers: Collection[str] = ()
    upstreams: Collection[str] = ()


def _no_pools() -> Iterable[Pool]:
    return ()


@dataclass(kw_only=True, slots=True)
class GaugeSources:
    """Whom to ask, at the moment of the question, for what is a state and not a count. The service fills it in.

    `circuits` gives for each provider how many of its routes have an open circuit. `gauges` is where the parts of the
    service register what they show besides.
    """

    active_requests: ActiveRequests = field(default_factory=ActiveRequests)
    pools: Callable[[], Iterable[Pool]] = _no_pools
    circuits: Callable[[], Mapping[str, int]] = dict
    connections: Callable[[], int] = int
    lines_dropped: Callable[[], int] = int
    gauges: GaugeRegistry = field(default_factory=GaugeRegistry)


class _Cells(NamedTuple):
    requests: MetricValue
    total: MetricValue
    upstream: MetricValue
    own: MetricValue
    first_piece: MetricValue


class Metrics:
    """One worker's counts. `worker` is its place among the workers."""

    def __init__(self, names: LabelValues, sources: GaugeSources, *, worker: int = 0) -> None:
        self._routes, self._providers = dict(names.routes), frozenset(names.providers)
        self._tiers, self._upstreams = frozenset(names.tiers), frozenset(names.upstreams)
        self._sources = sources
        self._worker = str(worker)
        sources.gauges.register(
            request_gauge(sources.active_requests, self._routes),
            connection_gauge(self._connections),
            circuit_gauge(sources.circuits, self._providers),
            *pool_gauges(sources.pools, self._upstreams | self._providers),
            *process_gauges(worker),
        )
        self._tallies = MetricStore(family for family in FAMILIES if family.name not in _GAUGES)
        self._cells: dict[tuple[str, str | None, int], _Cells] = {}
        self._cpu_before = 0.0
        self._dropped_before = 0

    def _connections(self) -> int:
        return self._sources.connections()  # which is set once the server listens

    def record_request(self, context: RequestContext, ended: float) -> None:
        """Count a flight that ended at `ended` (trio's clock)."""
        status = logged_status(context) or 0
        try:
            cells = self._cells[context.route, context.outcome, status // 100]
        except KeyError:
            cells = self._resolve(context.route, context.outcome, status // 100)
        cells.requests[0] += 1
        if status != _SWITCHING_PROTOCOLS:  # a WebSocket lasts as long as its users like: no duration of ours
            total = ended - context.started
            upstream = context.upstream_seconds
            observe(cells.total, DURATIONS, total)
            observe(cells.own, OVERHEADS, total - upstream if total > upstream else 0.0)
            if upstream:
                observe(cells.upstream, DURATIONS, upstream)
            if context.first_piece is not None:
                observe(cells.first_piece, DURATIONS, context.first_piece - context.started)
        for made in context.attempts:
            self._attempted(made, ended)
        if context.usage is not None:
            self._count_usage(context.provider, context.tier, context.usage)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from what the worker before this one in the same place had counted."""
        self._tallies.add(snapshot)

    def counted(self) -> Snapshot:
        """What was counted so far: what must not be lost when this worker ends."""
        self._measure()
        return self._tallies.snapshot()

    def snapshot(self) -> Snapshot:
        """What was counted, and how things stand."""
        return self.counted() | self._sources.gauges.snapshot()

    def _resolve(self, route: str, outcome: str | None, hundreds: int) -> _Cells:
        known = route in self._routes and outcome in OUTCOMES and 0 <= hundreds <= 5
        label = route if route in self._routes else OTHER
        ended_by = outcome if outcome in OUTCOMES else OTHER
        cell = self._tallies.cell
        cells = _Cells(
            cell("requests", label, ended_by, f"{hundreds}xx" if 1 <= hundreds <= 5 else "none"),
            cell("request_seconds", label),
            cell("upstream_seconds", label),
            cell("overhead_seconds", label),
            cell("first_piece_seconds", label),
        )
        if known:  # what is unknown is looked up each time: remembering it would let strangers fill our memory
            self._cells[route, outcome, hundreds] = cells
        return cells

    def _attempted(self, made: AttemptRecord, ended: float) -> None:
        cell = self._tallies.cell
        provider = made.upstream if made.upstream in self._providers else OTHER
        result = "cancelled" if made.ended is None else made.error or "ok"
        cell("attempts", provider, result if result in _RESULTS else OTHER)[0] += 1
        observe(cell("attempt_seconds", provider), DURATIONS, (made.ended or ended) - made.started)
        if made.why in _WHY:
            cell(_WHY[made.why], provider)[0] += 1

    def _count_usage(self, provider: str | None, tier: str | None, usage: Usage) -> None:
        cell = self._tallies.cell
        provider = provider if provider in self._providers else OTHER
        tier = tier if tier in self._tiers else ""
        cell("tokens", provider, tier, "input")[0] += usage.input_tokens or 0
        cell("tokens", provider, tier, "output")[0] += usage.output_tokens or 0
        cell("cached_tokens", provider, tier)[0] += usage.cached_tokens or 0
        cell("reasoning_tokens", provider, tier)[0] += usage.reasoning_tokens or 0
        cell("cost_usd", provider, tier)[0] += usage.cost_usd or 0.0

    def _measure(self) -> None:
        """Counters that others keep: add what came since the last look, so that a restored count goes on."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu, dropped = used.ru_utime + used.ru_stime, self._sources.lines_dropped()
        self._tallies.cell("worker_cpu_seconds", self._worker)[0] += cpu - self._cpu_before
        self._tallies.cell("log_lines_dropped")[0] += dropped - self._dropped_before
        self._cpu_before, self._dropped_before = cpu, dropped
