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
from lakehouse.server.limits import ServerLimits

ErrorHeadersFactory = Callable[[Iterable[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]
"""Makes headers for a connection's own error response from the request headers that have arrived: those of CORS."""


class ConnectionHandle(Protocol):
    """An open connection."""

    def drain(self) -> None:
        """Close at once if no request is under way, else after its response."""


class ServerState:
    """The state of one listener; `open_server_state` makes it.

    While `draining` is true, every response carries `Connection: close`. `connections` are handles of the open
    ones.
    """

    def __init__(
        self, app: App, limits: ServerLimits, disconnects: Poller, make_error_headers: ErrorHeadersFactory | None = None
    ) -> None:
        self.app = app
        self.make_error_headers = make_error_headers
        self.limits = limits
        self.disconnects = disconnects
        self.keep_alive_timeouts = TimeoutQueue(limits.keep_alive_timeout)  # of idle connections that had a response
        self.header_timeouts = TimeoutQueue(limits.header_timeout)  # of new connections, and of heads that have begun
        self.draining = False
        self.connections: set[ConnectionHandle] = set()
        self._date = b""
        self._second = 0

    def drain(self) -> None:
        """Close connections without a request now, and every other one after its response. It cannot be undone."""
        self.draining = True
        for handle in tuple(self.connections):
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
    app: App, limits: ServerLimits | None = None, *, make_error_headers: ErrorHeadersFactory | None = None
) -> AsyncIterator[ServerState]:
    """Open the state of a listener and run its timeouts during the block, which must outlive the connections.

    Serve it with `trio.serve_listeners(partial(serve_connection, server_state), listeners)`.
    """
    async with trio.open_nursery() as nursery:
        disconnects = Poller()
        await nursery.start(disconnects.run)
        server_state = ServerState(app, limits or ServerLimits(), disconnects, make_error_headers)
        nursery.start_soon(server_state.keep_alive_timeouts.run)
        nursery.start_soon(server_state.header_timeouts.run)
        yield server_state
        nursery.cancel_scope.cancel()
