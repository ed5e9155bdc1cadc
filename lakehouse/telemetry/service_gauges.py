"""The gauges of every worker: requests in flight, connections, upstreams' pools, circuits, memory and files."""

from __future__ import annotations

import resource
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from lakehouse.core.context import RequestContext
from lakehouse.telemetry.gauges import Gauge, Readings
from lakehouse.telemetry.metric_definitions import METRIC_FAMILIES

OTHER = "other"
"""The label of names that the configuration does not have."""

_FAMILIES = {family.name: family for family in METRIC_FAMILIES}


class Pool(Protocol):
    """The interface of a connection pool of an upstream, for its gauges."""

    @property
    def name(self) -> str: ...
    @property
    def in_use(self) -> int: ...
    @property
    def idle(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def max_connections(self) -> int: ...


def request_gauge(active: Iterable[RequestContext], routes: Collection[str]) -> Gauge:
    """Make the gauge of requests in flight, by route."""

    def read() -> Readings:
        return (((context.route if context.route in routes else OTHER,), 1) for context in active)

    return Gauge(_FAMILIES["requests_in_flight"], read)


def connection_gauge(count: Callable[[], int]) -> Gauge:
    """Make the gauge of open client connections."""
    return Gauge(_FAMILIES["connections"], lambda: [((), count())])


def pool_gauges(pools: Callable[[], Iterable[Pool]], names: Collection[str]) -> tuple[Gauge, ...]:
    """Make the gauges of connections to each upstream: busy, idle, requests that wait for one, limit."""

    def gauge(family: str, read: Callable[[Pool], int]) -> Gauge:
        def readings() -> Readings:
            return (((pool.name if pool.name in names else OTHER,), read(pool)) for pool in pools())

        return Gauge(_FAMILIES[family], readings)

    return (
        gauge("upstream_in_use", lambda pool: pool.in_use),
        gauge("upstream_idle", lambda pool: pool.idle),
        gauge("upstream_waiting", lambda pool: pool.waiting),
        gauge("upstream_limit", lambda pool: pool.max_connections),
    )


def circuit_gauge(circuits: Callable[[], Mapping[str, int]], providers: Collection[str]) -> Gauge:
    """Make the gauge of routes with an open circuit, by provider."""

    def read() -> Readings:
        return (((provider if provider in providers else OTHER,), count) for provider, count in circuits().items())

    return Gauge(_FAMILIES["circuits_open"], read)


def process_gauges(worker: str) -> tuple[Gauge, ...]:
    """Make the gauges of memory and file descriptors of this process; `worker` is its number or name."""
    labels = (worker,)
    return (
        Gauge(_FAMILIES["worker_resident_bytes"], lambda: [(labels, read_resident_bytes())]),
        Gauge(_FAMILIES["worker_open_files"], lambda: [(labels, sum(1 for _ in Path("/proc/self/fd").iterdir()))]),
    )


def read_resident_bytes(process: int | Literal["self"] = "self") -> int:
    """The resident memory of a process. Raises OSError if there is none."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()
