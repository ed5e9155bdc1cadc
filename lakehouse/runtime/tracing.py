"""ASGI middleware that makes each request part of a trace, or keeps the content of chats for the system tables."""

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


class ContentMiddleware:
    """Keeps messages and answers in the context of a request until it has ended."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (request := request_scope.find(scope)) is not None:
            request.context.keep_content()
        await self._app(scope, receive, send)


def keep_contents(app: App, *, wanted: bool) -> App:
    """The application with the contents of its chats kept, if they are `wanted`; otherwise the application itself."""
    return ContentMiddleware(app) if wanted else app
