"""What the server offers an application for one request beyond ASGI; see `lakehouse.asgi.server_control`."""

from __future__ import annotations

from lakehouse.asgi.server_control import FinalResponse
from lakehouse.server.connection_io import ConnectionIO
from lakehouse.server.http1.request_head import RequestHead


class RequestControl:
    """Implements `ServerControl` for a request on a connection. The request itself derives from it."""

    __slots__ = ("_connection_io", "head")

    def __init__(self, connection_io: ConnectionIO, head: RequestHead) -> None:
        self._connection_io = connection_io
        self.head = head

    @property
    def disconnected(self) -> bool:
        """Whether the client has left, or counts as having left because it takes nothing of its response."""
        return self._connection_io.disconnected

    @property
    def bytes_received(self) -> int:
        """Not counted for a WebSocket."""
        return 0

    @property
    def bytes_sent(self) -> int:
        """Not counted for a WebSocket."""
        return 0

    @property
    def bare_query(self) -> bool:
        """Whether the target ends in a `?` with nothing behind it."""
        target = self.head.target
        return target.endswith(b"?") and target.index(b"?") == len(target) - 1

    @property
    def idle_limit(self) -> float | None:
        """Seconds without progress that end the request; None: the server's own limits."""
        return self._connection_io.idle_limit

    @idle_limit.setter
    def idle_limit(self, seconds: float | None) -> None:
        self._connection_io.idle_limit = seconds

    def interrupt(self, final_response: FinalResponse) -> None:
        """Cancel the application, and close the connection after `final_response` has been awaited."""
        self._connection_io.interrupt(final_response)
