"""ASGI middleware that makes each request part of a trace."""

from __future__ import annotations

from lakehouse.asgi import request_scope
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.telemetry.telemetry import Traces


class TracingMiddleware:
    """Begins a span for each request, just inside of `RequestLifetimeMiddleware`; the caller's `traceparent` is its
    parent."""

    def __init__(self, app: App, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (request := request_scope.find(scope)) is not None:
            parents = [value for name, value in scope["headers"] if name == b"traceparent"]
            self._traces.begin(request.context, parents[0] if len(parents) == 1 else None)
        await self._app(scope, receive, send)


def trace_requests(app: App, traces: Traces | None) -> App:
    """The application with its requests traced; the application itself without traces."""
    return app if traces is None else TracingMiddleware(app, traces)
