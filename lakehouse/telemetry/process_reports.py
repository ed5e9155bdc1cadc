"""Reports of another process of the service, such as the services process: its gauges, and what its requests do.

    other process:   serve_reports ──Unix socket in a private directory──> Reports of a worker

Nobody asks before the process has made its socket, so reports never start it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import trio

from lakehouse.core.context import Phase, RequestContext
from lakehouse.telemetry.gauges import GaugeRegistry
from lakehouse.telemetry.metric_store import Family, Snapshot
from lakehouse.telemetry.worker_ipc import Handler, send_query, serve_queries

T = TypeVar("T")

METRICS, PHASES = "metrics", "phases"
"""The two queries."""

REPORTED_PHASES: frozenset[Phase] = frozenset(
    {"receiving", "queued", "extracting", "embedding", "scanning", "searching", "writing"}
)
"""The phases that say more than the worker knows, which waits for the response."""

WORKER_STEPS: frozenset[Phase] = frozenset({"retrieving", "answering"})
"""The phases of which those of the other process are parts."""


class GaugeReport(msgspec.Struct, frozen=True, kw_only=True):
    """The gauges of the other process: their families, and their values."""

    families: tuple[Family, ...] = ()
    snapshot: Snapshot = msgspec.field(default_factory=dict)


async def serve_reports(
    path: Path,
    gauges: GaugeRegistry,
    active: Iterable[RequestContext],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Report on a Unix socket at `path` until cancelled."""

    def encode_gauges(_: bytes) -> bytes:
        return msgspec.json.encode(GaugeReport(families=gauges.families, snapshot=gauges.snapshot()))

    def encode_phases(_: bytes) -> bytes:
        return msgspec.json.encode({context.id: context.phase for context in active})

    handlers: Mapping[str, Handler] = {METRICS: encode_gauges, PHASES: encode_phases}
    await serve_queries(path, handlers, task_status=task_status)


class Reports:
    """The reports of the process at `path`, None for a service without such a process."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    async def read_gauges(self) -> GaugeReport:
        """The gauges; none if the process does not run."""
        return await self._query(METRICS, GaugeReport) or GaugeReport()

    async def add_phases(self, requests: Sequence[dict[str, object]]) -> None:
        """Replace the phases of those requests about which the process knows more."""
        phases = (await self._query(PHASES, dict[str, str]) if requests else None) or {}
        for row in requests:
            phase = phases.get(str(row["id"]))
            if phase in REPORTED_PHASES and row["phase"] not in WORKER_STEPS:
                row["phase"] = phase

    async def _query(self, query: str, kind: type[T]) -> T | None:
        """The decoded reply; None without a process that runs."""
        data = None if self._path is None else await send_query(self._path, query)
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):  # of another version, while files are being replaced
            return None
