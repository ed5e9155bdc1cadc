"""What a request's log line and counts cost: `python -m tools.telemetry_cost`. Microseconds of processor time each.

The log goes to a pipe that another process reads, as under a service manager, and the figure includes the writing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import TextIO, cast

import trio

from lakehouse.core.context import RequestContext
from lakehouse.telemetry.log import Log, LogFormat
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry

FORMS: tuple[LogFormat, ...] = ("json", "off")
BATCH, BATCHES = 100, 400
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


def cost(make: Callable[[], RequestContext], form: LogFormat) -> float:
    """Microseconds of all threads for one request's end, the making of the request context taken off."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as reader:
        assert reader.stdin is not None
        log = Log(form, stream=cast("TextIO", reader.stdin))
        spent = trio.run(_cost, make, Telemetry(NAMES, GaugeSources(), log=log))
    return spent / (BATCH * BATCHES) * 1e6


async def _cost(make: Callable[[], RequestContext], observer: Telemetry) -> float:
    async with trio.open_nursery() as nursery:
        await nursery.start(observer.run)
        spent = await _spend(make, observer.on_end) - await _spend(make, lambda _: None)
        nursery.cancel_scope.cancel()
    return spent


async def _spend(make: Callable[[], RequestContext], end: Callable[[RequestContext], None]) -> float:
    began = time.process_time()
    for _ in range(BATCHES):
        for _ in range(BATCH):
            end(make())
        await trio.sleep(0.001)  # a hundred thousand requests a second is more than a worker sees
    await trio.sleep(0.2)
    return time.process_time() - began


if __name__ == "__main__":
    for name, make in (("proxied", proxied), ("chat", chatted)):
        for form in FORMS:
            best = min(cost(make, form) for _ in range(3))
            sys.stdout.write(f"{name:8} log {form:5} {best:6.2f} us\n")
