"""Graceful shutdown of the connections: no new ones, the requests in flight finish, and those left over are aborted.

running ──stop──> draining ──all responses complete────────────────> closed
                     └──drain_timeout──> 503 where no head is out ──> closed

`serve_listeners` calls the functions below in their order. `ServerState.draining` makes every further response carry
`Connection: close`; `Connection.drain` closes a connection without a request. The 503s are the application's
(`abort_requests`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

import trio

from lakehouse.server.listening import accept_queued
from lakehouse.server.server_state import ServerState

ABORT_TIMEOUT = 1.0
"""Seconds for the last 503s to reach their clients; connections of clients that have not read them are cut then."""


def stop_accepting(sock: socket.socket, start: Callable[[trio.SocketStream], None]) -> None:
    """Accept the connections in the kernel's queue, which closing the socket would reset, and close the socket."""
    accept_queued(sock, start)
    sock.close()


def drain_connections(server_states: Iterable[ServerState]) -> None:
    """Close the connections without a request now, and every other one after its response."""
    for server_state in server_states:
        server_state.drain()


async def abort_after(timeout: float, abort_requests: Callable[[], None], connections: trio.CancelScope) -> None:
    """After `timeout` seconds abort the requests that are left, and cut their connections `ABORT_TIMEOUT` later."""
    await trio.sleep(timeout)
    abort_requests()
    await trio.sleep(ABORT_TIMEOUT)
    connections.cancel(reason="drain timeout")
