"""What a request's log line and counts cost: `python -m tools.telemetry_cost`. Microseconds of processor time each.

The log goes to a pipe that another process reads, as under a service manager, and the figure includes the writing. With
the system tables it includes all up to the durable batch: this process is both the worker and the services process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO, cast

import trio

from lakehouse.core.context import RequestContext
from lakehouse.services.system_tables.database import SystemDatabase
from lakehouse.telemetry.log import Log, LogFormat
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry
from lakehouse.telemetry.traffic import TrafficRecorder
from lakehouse.telemetry.traffic_ipc import Batch, serve_batches

FORMS: tuple[LogFormat, ...] = ("json", "off")
BATCH, BATCHES, ROUNDS = 100, 400, 3
NAMES = LabelValues(routes={"/v1/sql": "queryd", "/v1/chat": ""}, providers=("ollama",), upstreams=("queryd",))


class Usage:
    """As a provider reports it."""

    input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_usd = 100, 20, None, None, None


def proxied() -> RequestContext:
    """A gateway request that took 1.2 ms."""
    return RequestContext(
        id="0123456789abcdef",
        method="POST",
        path="/v1/sql/run",
        route="/v1/sql",
        started=100.0,
        ended=100.0012,
        status=200,
        outcome="answered",
        upstream="queryd",
        upstream_seconds=0.001,
        first_piece=100.0011,
    )


def chatted() -> RequestContext:
    """A chat with one attempt, and usage."""
    context = proxied()
    context.route, context.provider, context.model, context.usage = "/v1/chat", "ollama", "qwen3:8b", Usage()
    context.record_attempt("ollama", "qwen3:8b", now=100.0).ended = 100.001
    return context


def cost(make: Callable[[], RequestContext], form: LogFormat, *, tables: bool = False) -> float:
    """Microseconds of all threads for one request's end, the making of the request context taken off."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as reader:
        assert reader.stdin is not None
        log = Log(form, stream=cast("TextIO", reader.stdin))
        with tempfile.TemporaryDirectory() as folder:
            spent = trio.run(_cost, make, log, Path(folder) if tables else None)
    return spent / (BATCH * BATCHES) * 1e6


async def _cost(make: Callable[[], RequestContext], log: Log, folder: Path | None) -> float:
    traffic = None if folder is None else TrafficRecorder(folder / "socket")
    observer = Telemetry(NAMES, GaugeSources(), log=log, traffic=traffic)
    async with trio.open_nursery() as nursery:
        if folder is not None:
            (folder / "system").mkdir()
            database = SystemDatabase(folder / "system.db", folder / "system")
            await nursery.start(serve_batches, folder / "socket", partial(_append, database))
        await nursery.start(observer.run)
        spent = await _spend(make, observer.on_end) - await _spend(make, lambda _: None)
        nursery.cancel_scope.cancel()
    assert traffic is None or not traffic.dropped
    return spent


async def _append(database: SystemDatabase, batch: Batch) -> bool:
    await trio.to_thread.run_sync(database.append, batch)
    return True


async def _spend(make: Callable[[], RequestContext], end: Callable[[RequestContext], None]) -> float:
    began = time.process_time()
    for _ in range(BATCHES):
        for _ in range(BATCH):
            end(make())
        await trio.sleep(0.005)  # up to twenty thousand requests a second, twice as many as a worker serves
    await trio.sleep(1.2)  # until the log is written and the rows are stored
    return time.process_time() - began


if __name__ == "__main__":
    for name, make in (("proxied", proxied), ("chat", chatted)):
        for form in FORMS:
            best = min(cost(make, form) for _ in range(ROUNDS))
            stored = min(cost(make, form, tables=True) for _ in range(ROUNDS))
            sys.stdout.write(f"{name:8} log {form:5} {best:6.2f} us, with system tables {stored:6.2f} us\n")
