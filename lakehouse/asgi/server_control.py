"""What our own server offers an application beyond ASGI, and why it is fast.

Under plain ASGI an application that must stop when its client leaves needs a task that reads `receive` all the time,
a cancel scope around the request, and two or three messages for each response. Our server (`lakehouse.server`) saves
all of that through one object in the scope, its `ServerControl`:

* The server itself watches the socket and cancels the application when the client leaves. No task reads `receive`, and
  `disconnected` is true afterwards.
* `interrupt` cancels the application from outside, for a deadline or a drain, and awaits a final response once
  everything that the request started has ended. No cancel scope is needed around a request for that: one costs a
  relayed GET a tenth.
* `try_receive_body` returns a request body that has arrived whole, without messages, coroutines and a timeout.
* A response that is complete may be sent as one message (`full_response`) instead of two.
* `try_write` sends a piece of a response body without a message, without a coroutine and without a task switch, as
  long as the kernel takes the bytes at once. A stream of many small pieces is cheap because of it.
* `idle_limit` replaces two cancel scopes with a number that the server's own timeouts read.

A scope under any other server, stock Hypercorn for one, has no `ServerControl`, and every application works there too,
with a `DisconnectWatcher` and a cancel scope. The request runner (`asgi.middleware.request_runner`) hides the
difference; an application reads `RequestScope.server` and falls back to plain ASGI when that is None.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from lakehouse.asgi.types import Message, Scope

SERVER_KEY = "lakehouse.server"
"""The key of a scope under which our server puts its `ServerControl` or `HttpServerControl`."""

FULL_RESPONSE = "lakehouse.response"
"""The type of a message that is a whole response; see `full_response`."""

FinalResponse = Callable[[], Awaitable[None]]
"""Sends what is left to send of a request that was interrupted."""


class ServerControl(Protocol):
    """What our server offers for one request, of type `http` or `websocket`."""

    @property
    def disconnected(self) -> bool:
        """Whether the client has left, or has taken nothing of its response for so long that it counts as having left.

        The server then cancels the application, unless the response is complete.
        """

    @property
    def bare_query(self) -> bool:
        """Whether the target ends in a `?` with nothing behind it. ASGI's `query_string` is empty then, as it is
        without a `?`, although it is another target."""

    @property
    def bytes_received(self) -> int:
        """Bytes of the request body that the application has received; 0 of a WebSocket."""

    @property
    def bytes_sent(self) -> int:
        """Bytes of the response body that were sent; 0 of a WebSocket."""

    @property
    def idle_limit(self) -> float | None:
        """Seconds that the client may take nothing of its response, or send nothing of its body; None: the server's
        own limits. An application may set it; the next request on the connection begins with None again."""

    @idle_limit.setter
    def idle_limit(self, seconds: float | None) -> None: ...

    def interrupt(self, final_response: FinalResponse) -> None:
        """Cancel the application, and close the connection after the request.

        `final_response` is awaited when everything that the request started has ended, unless the response is complete
        by then. A WebSocket has no final response.
        """


class HttpServerControl(ServerControl, Protocol):
    """What our server offers for one request of type `http`."""

    def try_receive_body(self) -> bytes | None:
        """All that `receive` has not returned yet of the request body, if it has arrived to its end; None otherwise."""

    def try_write(self, data: bytes) -> Awaitable[None] | None:
        """Send a piece of the response body, with more to come; allowed after at least one such message.

        Returns None when the kernel has taken the bytes. Otherwise the result must be awaited at once, and raises what
        `send` raises.
        """


def server_control(scope: Scope) -> ServerControl | None:
    """Our server's control of a request, None under any other server."""
    control: ServerControl | None = scope.get(SERVER_KEY)
    return control


def full_response(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> Message:
    """A whole response in one message. The request runner takes it under every server.

    `headers` is given away: the runner appends `X-Request-Id` to it, which it must not have.
    """
    return {"type": FULL_RESPONSE, "status": status, "headers": headers, "body": body}
