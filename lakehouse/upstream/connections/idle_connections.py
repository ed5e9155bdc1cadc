"""Connections of one upstream that wait for their next request: last in, first out."""

from __future__ import annotations

from collections import deque
from math import inf

from lakehouse.upstream.connections.connection import UpstreamConnection

MAX_IDLE_FOR_STREAMED_BODY = 1.0
"""Seconds that a connection may have been idle to be used for a body that streams. Such a request cannot be sent a
second time, so it does not use a connection that the upstream may be closing; a new one costs a round trip."""


class IdleConnections:
    """A stack of connections, each kept for `expiry` seconds. Expired ones are closed when the next one is taken."""

    def __init__(self, expiry: float) -> None:
        self._expiry = expiry
        self._connections: deque[UpstreamConnection] = deque()

    def __len__(self) -> int:
        return len(self._connections)

    def put(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection for its next request."""
        connection.recycle(now)
        self._connections.append(connection)

    def pop(self, now: float, *, streams: bool) -> UpstreamConnection | None:
        """The connection that was used last and is still good, or None. `streams`: it is for a body that streams."""
        connections = self._connections
        while connections and connections[0].idle_since <= now - self._expiry:  # the oldest are at the bottom
            connections.popleft().close()
        longest = MAX_IDLE_FOR_STREAMED_BODY if streams else inf
        while connections:
            connection = connections.pop()
            if connection.idle_since >= now - longest and connection.has_no_pending_data():
                return connection
            connection.close()
        return None

    def close_all(self) -> None:
        """Close them."""
        while self._connections:
            self._connections.pop().close()
