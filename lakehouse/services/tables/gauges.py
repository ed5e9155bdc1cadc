"""The gauges of the tables process. Their names begin with that of the service that they are a part of."""

from __future__ import annotations

from collections.abc import Iterable

from lakehouse.process.calls.pool import ChildPool
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

_PROCESSES = Family("catalogd_processes", "gauge", "Processes that plan and commit with pyiceberg: none, or one.")
_BUSY = Family("catalogd_processes_busy", "gauge", "Processes of these that are in a call.")
_WAITING = Family("catalogd_calls_waiting", "gauge", "Plans and commits that wait until another one has ended.")


def make_gauges(pool: ChildPool) -> Iterable[Gauge]:
    """Make the gauges of the pool with the process."""
    return (
        Gauge(_PROCESSES, lambda: [((), pool.size)]),
        Gauge(_BUSY, lambda: [((), pool.in_use)]),
        Gauge(_WAITING, lambda: [((), pool.waiting)]),
    )
