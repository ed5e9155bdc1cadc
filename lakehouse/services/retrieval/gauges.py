"""The gauges of the retrieval engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lakehouse.services.contracts.retrieval import EngineStats
from lakehouse.services.retrieval.engine_process import EngineProcess
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family
from lakehouse.telemetry.service_gauges import read_resident_bytes

_RUNNING = Family("retrieval_processes", "gauge", "Processes of the retrieval engine that are running.")
_WAITING = Family("retrieval_calls", "gauge", "Calls to the retrieval engine that are under way.")
_MEMORY = Family(
    "retrieval_memory_bytes", "gauge", "Resident memory of the retrieval engine, not of what writes words."
)
_INDEXES = Family("retrieval_indexes", "gauge", "Indexes of the retrieval engine, when its figures were last read.")
_ITEMS = Family("retrieval_items", "gauge", "Items of all indexes, when the figures were last read.")


def make_gauges(process: EngineProcess, stats: Callable[[], EngineStats]) -> Iterable[Gauge]:
    """Make the gauges. `stats` returns the figures that were last read: a gauge makes no call."""
    return (
        Gauge(_RUNNING, lambda: [((), 0 if process.pid is None else 1)]),
        Gauge(_WAITING, lambda: [((), process.waiting)]),
        Gauge(_MEMORY, lambda: [((), read_memory(process.pid))]),
        Gauge(_INDEXES, lambda: [((), stats().indexes)]),
        Gauge(_ITEMS, lambda: [((), stats().items)]),
    )


def read_memory(pid: int | None) -> int:
    """The resident memory of a process in bytes; 0 if there is none or it is not known."""
    if pid is None:
        return 0
    try:
        return read_resident_bytes(pid)
    except (OSError, ValueError, IndexError):
        return 0
