"""Serving: accept, drain, close. What is served and where it listens is given; resources are the caller's.

running ──stop──> draining ──all answered──────────────────────────> closed
                     └──drain_timeout──> 503 where no head is out ──> closed
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import trio

from lakehouse.asgi.types import App
from lakehouse.server.connection import serve_connection
from lakehouse.server.listening import accept_forever, accept_waiting, listen, url_of
from lakehouse.server.server_state import Mark, ServerState, open_server_state

ABORT_TIMEOUT = 1.0
"""Seconds for the last 503s to reach their clients; whoever does not read them by then is cut."""


@dataclass(frozen=True, slots=True)
class BoundApp:
    """An application and the bound socket it is served on; `tls` is None for plain HTTP.

    `mark` gives the headers of answers that a connection gives without the application.
    """

    app: App
    sock: socket.socket
    tls: ssl.SSLContext | None = None
    mark: Mark | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return url_of(self.sock, secure=self.tls is not None)


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: where it is reached, and the event that asks it to stop."""

    urls: tuple[str, ...]
    stopping: trio.Event

    def stop(self) -> None:
        """Begin to drain; `serve` returns when everything has ended. Twice is harmless."""
        self.stopping.set()


async def serve_listeners(
    sites: Sequence[BoundApp],
    *,
    stopping: trio.Event,
    drain_timeout: float,
    expire: Callable[[], None],
    count_with: Callable[[Callable[[], int]], None] | None = None,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen and serve until `stopping` is set, then drain and return. The sites' sockets are closed at the end.

    Requests in flight go on for `drain_timeout` seconds; then `expire` is called, which is to end those that are left,
    and a moment later their connections are cut. `task_status` gets the `Service` once connections are accepted, and
    `count_with` what counts those that are open. Raises AddressError where another listens by now. When cancelled,
    every request is cancelled at once and every connection closed; nothing is left behind.
    """
    async with AsyncExitStack() as stack:
        for site in sites:
            listen(stack.enter_context(site.sock))
        doors = [await stack.enter_async_context(open_server_state(site.app, mark=site.mark)) for site in sites]
        if count_with is not None:
            count_with(lambda: sum(len(server_state.handles) for server_state in doors))
        async with trio.open_nursery() as clock:
            async with trio.open_nursery() as connections:
                starts = [partial(_start, connections, *pair) for pair in zip(sites, doors, strict=True)]
                await _accept_until(stopping, sites, starts, task_status)
                for server_state in doors:
                    server_state.drain()
                clock.start_soon(_abort_after, drain_timeout, expire, connections.cancel_scope)
            clock.cancel_scope.cancel(reason="drained")


async def _accept_until(
    stopping: trio.Event,
    sites: Sequence[BoundApp],
    starts: Sequence[Callable[[trio.SocketStream], None]],
    task_status: trio.TaskStatus[Service],
) -> None:
    """Accept, and at the end take what the kernel has accepted for us as well: closing the socket would reset it."""
    async with trio.open_nursery() as accepting:
        for site, start in zip(sites, starts, strict=True):
            accepting.start_soon(accept_forever, site.sock, start)
        task_status.started(Service(tuple(site.url for site in sites), stopping))
        await stopping.wait()
        accepting.cancel_scope.cancel(reason="draining")
    for site, start in zip(sites, starts, strict=True):
        accept_waiting(site.sock, start)
        site.sock.close()


async def _abort_after(timeout: float, expire: Callable[[], None], connections: trio.CancelScope) -> None:
    await trio.sleep(timeout)
    expire()
    await trio.sleep(ABORT_TIMEOUT)
    connections.cancel(reason="drain timeout")


def _start(connections: trio.Nursery, site: BoundApp, server_state: ServerState, stream: trio.SocketStream) -> None:
    if site.tls is None:
        connections.start_soon(serve_connection, server_state, stream)
    else:
        secure = trio.SSLStream(stream, site.tls, server_side=True, https_compatible=True)
        connections.start_soon(serve_connection, server_state, secure)
