"""The request that a scope belongs to: its context, its server, and the switch from answering to streaming.

`RequestLifetimeMiddleware` puts it into the scope. Applications that run without that middleware, in a test or in
another program, use `find`; all others use `get`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lakehouse.asgi.responses import Response
from lakehouse.asgi.server_control import HttpServerControl
from lakehouse.asgi.types import Scope
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError

REQUEST_KEY = "lakehouse.request"
"""The key of a scope under which the middleware puts the `RequestScope`."""

HEADERS_KEY = "lakehouse.headers"
"""The key of a scope under which the middleware puts the headers of the request by their names, the last of each."""

EncodeError = Callable[[LakehouseError], bytes]
"""Encodes a failure as the final event of a stream."""

RenderError = Callable[[LakehouseError], Response]
"""Builds the response to a request that failed before its response had begun."""


class RequestScope(Protocol):
    """One request as the layers around an application have it. Read-only for the application."""

    @property
    def context(self) -> RequestContext:
        """The record of the request, from which log, metrics and traces are made."""

    @property
    def server(self) -> HttpServerControl | None:
        """Our own server, None under any other. For a `websocket` scope only what `ServerControl` has may be used."""

    def render_errors_with(self, render_error: RenderError) -> None:
        """Build the response with `render_error` if the request fails before its response has begun."""

    def begin_stream(self, encode_error: EncodeError) -> None:
        """Remove the client's deadline: the response has begun, and may go on for long.

        When something ends the stream early, `encode_error(error)` is sent as its final piece. Without this call a
        response that has begun is cut instead.
        """


def get(scope: Scope) -> RequestScope:
    """The request of this scope. Raises `KeyError` outside of `RequestLifetimeMiddleware`."""
    request: RequestScope = scope[REQUEST_KEY]
    return request


def find(scope: Scope) -> RequestScope | None:
    """The request of this scope, None outside of `RequestLifetimeMiddleware`."""
    request: RequestScope | None = scope.get(REQUEST_KEY)
    return request
