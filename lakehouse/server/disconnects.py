"""Detects that a client has left: the kernel reports it, and the request that runs for the client is cancelled.

    EPOLLRDHUP ──> Poller (`lakehouse.net.poller`) ──> ConnectionIO.client_disconnected ──> its scope is cancelled
    failed or timed-out write, end of the stream ──> ConnectionIO.raise_disconnected ───────────┘

The request records status 499 (`lakehouse.asgi.middleware`), or goes on for its `disconnect_grace`. On another ASGI
server the message `http.disconnect` takes the place of this module (`lakehouse.asgi.middleware.disconnect_watcher`).
"""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.net.poller import Interest, Poller
from lakehouse.server.transports.transport import ConnectionTransport


def watch_disconnect(transport: ConnectionTransport, poller: Poller, on_disconnect: Callable[[], None]) -> None:
    """Have `on_disconnect` called when the client sends its FIN or a reset, whatever waits unread in the buffers.

    Does nothing for a stream without a socket: only a read shows its end. Raises `OSError` at the kernel's limit of
    watched sockets.
    """
    sock = transport.socket()
    if sock is not None:
        poller.add(sock.fileno(), Interest.DISCONNECT, on_disconnect)


def unwatch_disconnect(transport: ConnectionTransport, poller: Poller) -> None:
    """End `watch_disconnect`, before the socket is closed."""
    sock = transport.socket()
    if sock is not None:
        poller.remove(sock.fileno())
