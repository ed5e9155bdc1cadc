"""Serving: accept, drain, close. The caller gives bound sockets and applications, and owns their resources.

The drain is in `lakehouse.server.drain`.
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
from lakehouse.server.drain import abort_after, drain_connections, stop_accepting
from lakehouse.server.listening import accept_forever, listen, url_of
from lakehouse.server.server_state import ErrorHeadersFactory, ServerState, open_server_state


@dataclass(frozen=True, slots=True)
class BoundApp:
    """An application and the bound socket it is served on; `tls` is None for plain HTTP.

    `make_error_headers` gives the headers of responses that a connection sends without the application.
    """

    app: App
    sock: socket.socket
    tls: ssl.SSLContext | None = None
    make_error_headers: ErrorHeadersFactory | None = None

    @property
    def url(self) -> str:
        """Its URL, as a client on this machine reaches it."""
        return url_of(self.sock, secure=self.tls is not None)


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its URLs, and the event that starts its drain."""

    urls: tuple[str, ...]
    stopping: trio.Event

    def stop(self) -> None:
        """Begin to drain; `serve` returns when everything has ended. Further calls do nothing."""
        self.stopping.set()


async def serve_listeners(
    apps: Sequence[BoundApp],
    *,
    stopping: trio.Event,
    drain_timeout: float,
    abort_requests: Callable[[], None],
    on_connection_counter: Callable[[Callable[[], int]], None] | None = None,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen and serve until `stopping` is set, then drain and return. The sockets are closed at the end.

    Requests in flight go on for `drain_timeout` seconds; then `abort_requests` is called, which must end those that are
    left, and after `ABORT_TIMEOUT` (see `drain`) their connections are cut. `task_status` gets the `Service` once
    connections are accepted, and `on_connection_counter` a function that counts the open ones. Raises AddressError if
    another process listens on an address by now. Cancelled, it cancels every request and closes every connection at
    once.
    """
    async with AsyncExitStack() as stack:
        for bound in apps:
            listen(stack.enter_context(bound.sock))
        server_states = [
            await stack.enter_async_context(open_server_state(bound.app, make_error_headers=bound.make_error_headers))
            for bound in apps
        ]
        if on_connection_counter is not None:
            on_connection_counter(lambda: sum(len(server_state.connections) for server_state in server_states))
        async with trio.open_nursery() as clock:
            async with trio.open_nursery() as connections:
                starts = [partial(_start, connections, *pair) for pair in zip(apps, server_states, strict=True)]
                await _accept_until(stopping, apps, starts, task_status)
                drain_connections(server_states)
                clock.start_soon(abort_after, drain_timeout, abort_requests, connections.cancel_scope)
            clock.cancel_scope.cancel(reason="drained")


async def _accept_until(
    stopping: trio.Event,
    apps: Sequence[BoundApp],
    starts: Sequence[Callable[[trio.SocketStream], None]],
    task_status: trio.TaskStatus[Service],
) -> None:
    """Accept until `stopping`, and then the connections in the kernel's queue, which closing the socket would reset."""
    async with trio.open_nursery() as accepting:
        for bound, start in zip(apps, starts, strict=True):
            accepting.start_soon(accept_forever, bound.sock, start)
        task_status.started(Service(tuple(bound.url for bound in apps), stopping))
        await stopping.wait()
        accepting.cancel_scope.cancel(reason="draining")
    for bound, start in zip(apps, starts, strict=True):
        stop_accepting(bound.sock, start)


def _start(connections: trio.Nursery, bound: BoundApp, server_state: ServerState, stream: trio.SocketStream) -> None:
    if bound.tls is None:
        connections.start_soon(serve_connection, server_state, stream)
    else:
        secure = trio.SSLStream(stream, bound.tls, server_side=True, https_compatible=True)
        connections.start_soon(serve_connection, server_state, secure)
