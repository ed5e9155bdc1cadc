"""One worker's observer: what a request's end is told to, and what is asked how things stand, over all workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from lakehouse.config import ObserveTable
from lakehouse.core.context import RequestContext
from lakehouse.telemetry.log import Log
from lakehouse.telemetry.metric_definitions import FAMILIES
from lakehouse.telemetry.metric_store import Row, Snapshot, packed, unpacked
from lakehouse.telemetry.metrics import GaugeSources, LabelValues, Metrics
from lakehouse.telemetry.worker_ipc import WorkerAnswer, WorkerIPC

logger = logging.getLogger("lakehouse.telemetry")

KEEP_EVERY = 5.0
"""Seconds between two writes of the counts: what a crash may lose that no scrape has seen."""


MAX_BATCH = 256
"""Flights that are looked at together at the most: under a millisecond in which nobody else can run."""


class InFlightNow(msgspec.Struct, frozen=True, kw_only=True):
    """The requests in flight over all workers, the oldest first, and how many workers did and did not answer."""

    requests: Sequence[dict[str, object]]
    workers: int
    silent: int


class Traces(Protocol):
    """What is needed of `traces.Traces`, which is imported only where traces are wanted."""

    def begin(self, context: RequestContext, traceparent: bytes | None) -> None: ...
    def record_request(self, context: RequestContext, ended: float) -> None: ...
    async def close(self) -> None: ...


def open_traces(table: ObserveTable) -> Traces | None:
    """Traces as the configuration says, None when they are off; `preflight` sees that the extra `otel` is here."""
    if not table.traces_url:
        return None
    traces = import_module("lakehouse.telemetry.traces")
    opened: Traces = traces.Traces(table.traces_url, ratio=table.trace_ratio, content=table.trace_content)
    return opened


class Telemetry:
    """Log, metrics and traces of one worker, and its voice among its siblings.

    `directory` is the supervisor's (`siblings.private_directory`), None for a single process; `worker` is this
    worker's place. `sources.flights` are the requests in flight.
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
    ) -> None:
        sources.lines_dropped = lambda: log.sink.dropped
        self.log = log
        self.traces = traces
        self.metrics = Metrics(names, sources, worker=worker)
        self._names = names
        self._active_requests = sources.active_requests
        self._gauges = sources.gauges
        self._ended: list[RequestContext] = []
        self._running = False
        self._ipc = WorkerIPC(directory, worker, {"metrics": self._counts, "requests": self._requests})
        if (left := self._ipc.load_persisted(worker)) is not None:
            self.metrics.restore(_snapshot(left))

    def on_end(self, context: RequestContext) -> None:
        """A request has ended: count it, log it, and send its spans off. Costs a microsecond, never waits.

        While `run` runs, flights are gathered for as long as the log gathers lines, and looked at together: it takes
        a third of the time to do the same thing many times at once. Whoever asks for counts has them in full.
        """
        if self.traces is not None and context.trace is not None and context.ended is not None:
            self.traces.record_request(context, context.ended)
        self._ended.append(context)
        if not self._running or len(self._ended) >= MAX_BATCH:
            self._flush()
        elif len(self._ended) == 1:
            self.log.sink.wake()

    def _flush(self) -> None:
        active_requests, self._ended = self._ended, []
        epoch = time.time() - trio.current_time()
        for context in active_requests:
            if context.ended is not None:
                try:
                    self.metrics.record_request(context, context.ended)
                    self.log.record_request(context, context.ended, epoch=epoch)
                except Exception:  # whatever it is, it is not to harm the others, nor whoever looks at them together
                    logger.exception("request %s could not be counted and logged", context.id)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write the log, answer the siblings and keep the counts until cancelled. Nothing is lost at the end."""
        self._running = True
        self.log.sink.sources.add(self._flush)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.log.sink.run)
                await nursery.start(self._ipc.serve)
                task_status.started()
                while True:
                    await trio.sleep(KEEP_EVERY)
                    self._keep()
        finally:
            self._running = False
            self._flush()
            self.log.sink.sources.discard(self._flush)
            self._keep()
            if self.traces is not None:
                await self.traces.close()

    async def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """`/metrics` over all workers: the text and its content type. A worker that does not answer counts as it was
        last seen."""
        from lakehouse.telemetry.exposition import exposition  # prometheus-client is wanted here only: 10 ms, 1 MB

        answers = await self._ipc.ask("metrics")
        snapshots = [self._answered(answer) for answer in answers]
        families = dict.fromkeys((*FAMILIES, *self._gauges.families))
        return exposition([*snapshots, self._once(answers)], accept, families=tuple(families))

    async def in_flight(self) -> InFlightNow:
        """`/v1/requests` over all workers."""
        answers = await self._ipc.ask("requests")
        requests: list[dict[str, object]] = []
        for answer in answers:
            if answer.data is not None:
                requests += [{"worker": answer.worker} | row for row in _REQUESTS.decode(answer.data)]
        requests.sort(key=lambda row: -_age(row))
        silent = sum(answer.data is None for answer in answers)
        return InFlightNow(requests=requests, workers=len(answers) - silent, silent=silent)

    def _answered(self, answer: WorkerAnswer) -> Snapshot:
        data = answer.data if answer.data is not None else self._ipc.load_persisted(answer.worker)
        return {} if data is None else _snapshot(data)

    def _once(self, answers: Sequence[WorkerAnswer]) -> Snapshot:
        """What is true of the service as a whole, and so is not added up."""
        silent = float(sum(answer.data is None for answer in answers))
        routes = [Row(route, [1.0]) for route in self._names.routes.items()]
        workers = [Row(("yes",), [len(answers) - silent]), Row(("no",), [silent])]
        return {"route_info": routes, "workers": workers}

    def _counts(self) -> bytes:
        self._keep()
        return packed(self.metrics.snapshot())

    def _keep(self) -> None:
        self._flush()
        self._ipc.persist(packed(self.metrics.counted()))

    def _requests(self) -> bytes:
        now = trio.current_time()
        return msgspec.json.encode([context.describe(now) for context in self._active_requests])


_REQUESTS = msgspec.json.Decoder(list[dict[str, object]])


def _age(row: dict[str, object]) -> float:
    age = row.get("age")
    return age if isinstance(age, float | int) else 0.0


def _snapshot(data: bytes) -> Snapshot:
    try:
        return unpacked(data)
    except (msgspec.DecodeError, UnicodeDecodeError):  # half of a file, when the disk was full, or something else's
        return {}
