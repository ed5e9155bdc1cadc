"""Shared by the tests of telemetry: request contexts, and a log that is captured."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import trio

from lakehouse.core.context import RequestContext
from lakehouse.telemetry.log import Log, LogFormat


@dataclass(frozen=True, kw_only=True)
class FakeUsage:
    """Usage as a provider reports it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None


@dataclass
class Pool:
    """An upstream's pool, as full as a test wants it."""

    name: str
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    max_connections: int = 64


def make_context(**facts: Any) -> RequestContext:
    """A proxied request that took 12 ms, 10 of them the upstream's."""
    usual: dict[str, Any] = {
        "id": "r-1",
        "method": "POST",
        "path": "/v1/sql/run",
        "route": "/v1/sql",
        "started": 100.0,
        "ended": 100.012,
        "status": 200,
        "outcome": "answered",
        "upstream": "queryd",
        "upstream_seconds": 0.010,
        "first_piece": 100.011,
    }
    return RequestContext(**usual | facts)


class CapturedLog:
    """A log whose lines stay here."""

    def __init__(self, form: LogFormat = "json") -> None:
        self._stream = io.TextIOWrapper(io.BytesIO(), write_through=True)
        self.log = Log(form, stream=self._stream)

    @property
    def text(self) -> str:
        self._stream.flush()
        assert isinstance(self._stream.buffer, io.BytesIO)
        return self._stream.buffer.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    async def requests(self, count: int) -> list[dict[str, Any]]:
        """The lines of requests, once there are `count` of them."""
        with trio.fail_after(10):
            while len(found := [line for line in self.lines if line["event"] == "request"]) < count:
                await trio.sleep(0.01)
        return found
