"""State that the connections of one listener share: application, limits, timeouts, open connections, drain."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Protocol

import trio

from lakehouse.asgi.types import App
from lakehouse.net.poller import Poller
from lakehouse.net.timer_queues import TimeoutQueue
from lakehouse.server.limits import Limits

Mark = Callable[[Iterable[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]
"""Makes headers of the response by which a connection refuses a request, from the request headers that have arrived."""


class ConnectionHandle(Protocol):
    """An open connection."""

    def drain(self) -> None:
        """End at once without a request under way, else after its response."""


class ServerState:
    """Made by `open_server_state`.

    `draining` is read by every connection: from then on responses carry `Connection: close`.
    """

    def __init__(self, app: App, limits: Limits, disconnects: Poller, mark: Mark | None = None) -> None:
        self.app = app
        self.mark = mark
        self.limits = limits
        self.disconnects = disconnects
        self.keep_alive_timeouts = TimeoutQueue(limits.idle_timeout)  # with clients that have had an answer
        self.header_timeouts = TimeoutQueue(
            limits.head_timeout
        )  # with those whose first or next head has begun, or should have
        self.draining = False
        self.handles: set[ConnectionHandle] = set()
        self._date = b""
        self._second = 0

    def drain(self) -> None:
        """Close connections without a request now, and every other one after its response. It cannot be undone."""
        self.draining = True
        for handle in tuple(self.handles):
            handle.drain()

    def date(self) -> bytes:
        """The `Date` header line of this second."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._date


@asynccontextmanager
async def open_server_state(
    app: App, limits: Limits | None = None, *, mark: Mark | None = None
) -> AsyncIterator[ServerState]:
    """Open the state of a listener and run its timeouts during the block, which must outlive the connections.

    Serve it with `trio.serve_listeners(partial(serve_connection, server_state), listeners)`.
    """
    async with trio.open_nursery() as nursery:
        disconnects = Poller()
        await nursery.start(disconnects.run)
        server_state = ServerState(app, limits or Limits(), disconnects, mark)
        nursery.start_soon(server_state.keep_alive_timeouts.run)
        nursery.start_soon(server_state.header_timeouts.run)
        yield server_state
        nursery.cancel_scope.cancel()
