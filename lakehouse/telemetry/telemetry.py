"""The telemetry of one worker: records requests that have ended, and reports on all workers of the service."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio

from lakehouse.config import ObserveTable
from lakehouse.core.context import RequestContext
from lakehouse.telemetry.log import Log
from lakehouse.telemetry.metric_definitions import METRIC_FAMILIES
from lakehouse.telemetry.metric_store import Row, Snapshot, decode_snapshot, encode_snapshot
from lakehouse.telemetry.metrics import GaugeSources, LabelValues, Metrics
from lakehouse.telemetry.process_reports import Reports
from lakehouse.telemetry.worker_ipc import WorkerIPC, WorkerReply

if TYPE_CHECKING:
    from lakehouse.telemetry.traffic import TrafficRecorder

logger = logging.getLogger("lakehouse.telemetry")

PERSIST_INTERVAL = 5.0
"""Seconds between two writes of the counts to disk. A crash loses at most the unscraped counts of this interval."""

MAX_BATCH = 256
"""The maximum number of requests recorded in one step, which blocks other tasks for less than a millisecond."""


class RequestsInFlight(msgspec.Struct, frozen=True, kw_only=True):
    """The requests in flight of all workers, the oldest first. `silent` is the number of workers that did not reply."""

    requests: Sequence[dict[str, object]]
    workers: int
    silent: int


class Traces(Protocol):
    """The interface of `traces.Traces`, whose module is imported only where traces are configured."""

    def begin(self, context: RequestContext, traceparent: bytes | None) -> None: ...
    def export_spans(self, context: RequestContext, ended: float) -> None: ...
    async def close(self) -> None: ...


def open_traces(table: ObserveTable) -> Traces | None:
    """Open traces as configured, None when they are off. `preflight` has checked that the extra `otel` is installed."""
    if not table.traces_url:
        return None
    traces = import_module("lakehouse.telemetry.traces")
    opened: Traces = traces.Traces(table.traces_url, ratio=table.trace_ratio, content=table.trace_content)
    return opened


class Telemetry:
    """Log, metrics and traces of one worker, and the exchange of metrics with the other workers.

    `directory` is the one that the supervisor made (`worker_ipc.make_private_directory`), None for a single process;
    `worker` is the number of this worker; `reports` is the socket of the services process (`process_reports`).
    `traffic` records the requests in the system tables of the lake.
    """

    def __init__(
        self,
        names: LabelValues,
        sources: GaugeSources,
        *,
        log: Log,
        traces: Traces | None = None,
        directory: Path | None = None,
        worker: int = 0,
        reports: Path | None = None,
        traffic: TrafficRecorder | None = None,
    ) -> None:
        sources.lines_dropped = lambda: log.sink.dropped
        if traffic is not None:
            sources.rows_dropped = lambda: traffic.dropped
        self.traffic = traffic
        self.log = log
        self.traces = traces
        self.metrics = Metrics(names, sources, worker=worker)
        self._label_values = names
        self._active_requests = sources.active_requests
        self._gauges = sources.gauges
        self._ended: list[RequestContext] = []
        self._running = False
        self._reports = Reports(reports)
        self.worker_ipc = WorkerIPC(
            directory, worker, {"metrics": self._encode_metrics, "requests": self._encode_requests}
        )
        if (left := self.worker_ipc.load_persisted(worker)) is not None:
            self.metrics.restore(_decode_or_empty(left))

    def replace_labels(self, names: LabelValues) -> None:
        """Report the routes of a new configuration; its names may be labels from now on, beside the former ones."""
        self._label_values = names
        self.metrics.allow_labels(names)

    @property
    def keeps_contents(self) -> bool:
        """Whether messages and answers of chats are recorded in the system tables."""
        return self.traffic is not None and self.traffic.contents

    def on_end(self, context: RequestContext) -> None:
        """Record a request that has ended: count it, log it, export its spans. Takes a microsecond and never blocks.

        While `run` is running, requests are collected for as long as the log collects lines, and recorded together,
        which takes a third of the time. They are recorded before any metrics are read.
        """
        if self.traces is not None and context.trace is not None and context.ended is not None:
            self.traces.export_spans(context, context.ended)
        self._ended.append(context)
        if not self._running or len(self._ended) >= MAX_BATCH:
            self._flush()
        elif len(self._ended) == 1:
            self.log.sink.wake()

    def _flush(self) -> None:
        ended, self._ended = self._ended, []
        epoch = time.time() - trio.current_time()
        recorded: list[RequestContext] = []
        lines: list[bytes] = []
        for context in ended:
            if context.ended is not None:
                try:
                    self.metrics.count_request(context, context.ended)
                    line = self.log.write_request(context, context.ended, epoch=epoch)
                    if self.traffic is not None:
                        lines.append(line or self.log.encode_request(context, context.ended, epoch=epoch))
                        recorded.append(context)
                except Exception:  # any failure is confined to its request
                    logger.exception("request %s was not counted and logged", context.id)
        if self.traffic is not None and recorded:
            try:
                self.traffic.add(recorded, lines, epoch=epoch)
            except Exception:
                logger.exception("rows of %d requests were not kept for the system tables", len(recorded))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write the log, serve the other workers and persist the counts until cancelled. Flushes at the end."""
        self._running = True
        self.log.sink.sources.add(self._flush)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.log.sink.run)
                if self.traffic is not None:
                    nursery.start_soon(self.traffic.run)
                await nursery.start(self.worker_ipc.serve)
                task_status.started()
                while True:
                    await trio.sleep(PERSIST_INTERVAL)
                    self._persist_counts()
        finally:
            self._running = False
            self._flush()
            self.log.sink.sources.discard(self._flush)
            self._persist_counts()
            if self.traffic is not None:
                await self.traffic.close()
            if self.traces is not None:
                await self.traces.close()

    async def render_metrics(self, accept: str = "") -> tuple[bytes, str]:
        """`/metrics` of all workers: the text and its content type. For a worker that does not reply, the counts that
        it persisted last are used."""
        from lakehouse.telemetry.exposition import (
            render_exposition,  # prometheus-client takes 10 ms and 1 MB
        )

        answers = await self.worker_ipc.query_workers("metrics")
        report = await self._reports.read_gauges()
        snapshots = [self._worker_snapshot(answer) for answer in answers]
        snapshots += [self._service_snapshot(answers), report.snapshot]
        families = dict.fromkeys((*METRIC_FAMILIES, *self._gauges.families, *report.families))
        return render_exposition(snapshots, accept, families=tuple(families))

    async def list_requests(self) -> RequestsInFlight:
        """`/v1/requests` of all workers."""
        answers = await self.worker_ipc.query_workers("requests")
        requests: list[dict[str, object]] = []
        for answer in answers:
            if answer.data is not None:
                requests += [{"worker": answer.worker} | row for row in _REQUESTS.decode(answer.data)]
        requests.sort(key=lambda row: -_age_of(row))
        await self._reports.add_phases(requests)
        silent = sum(answer.data is None for answer in answers)
        return RequestsInFlight(requests=requests, workers=len(answers) - silent, silent=silent)

    def _worker_snapshot(self, answer: WorkerReply) -> Snapshot:
        data = answer.data if answer.data is not None else self.worker_ipc.load_persisted(answer.worker)
        return {} if data is None else _decode_or_empty(data)

    def _service_snapshot(self, answers: Sequence[WorkerReply]) -> Snapshot:
        """The series of the service as a whole, which are not added up over workers."""
        silent = float(sum(answer.data is None for answer in answers))
        routes = [Row(route, [1.0]) for route in self._label_values.routes.items()]
        workers = [Row(("yes",), [len(answers) - silent]), Row(("no",), [silent])]
        return {"route_info": routes, "workers": workers}

    def _encode_metrics(self, _: bytes) -> bytes:
        self._persist_counts()
        return encode_snapshot(self.metrics.snapshot())

    def _persist_counts(self) -> None:
        self._flush()
        self.worker_ipc.persist(encode_snapshot(self.metrics.count_snapshot()))

    def _encode_requests(self, _: bytes) -> bytes:
        now = trio.current_time()
        return msgspec.json.encode([context.describe(now) for context in self._active_requests])


_REQUESTS = msgspec.json.Decoder(list[dict[str, object]])


def _age_of(row: dict[str, object]) -> float:
    age = row.get("age")
    return age if isinstance(age, float | int) else 0.0


def _decode_or_empty(data: bytes) -> Snapshot:
    try:
        return decode_snapshot(data)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a truncated file of a full disk, or a foreign file
        return {}
