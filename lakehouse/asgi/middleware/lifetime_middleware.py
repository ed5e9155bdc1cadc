"""The middleware around every request: its context, what may end it early, and what the client is sent then.

    client leaves (`disconnected_request`) ──┐
    deadline      (`request_deadline`) ──────┼──> the application is cancelled ──> everything it started ends
    drain         (`drain` below) ───────────┘

If the head of the response has not been sent, the client gets an error response (504, 503, the error's own, or a plain
500). If it has, a stream of events ends with an error event, and any other response is cut, because a
response that is incomplete must not look complete.

Our own server cancels the application when the client leaves. Under any other a `DisconnectWatcher` detects that.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from itertools import count

import trio

from lakehouse.asgi.middleware.http_runner import HttpRequestRunner
from lakehouse.asgi.middleware.request_deadline import TIMEOUT_HEADER
from lakehouse.asgi.middleware.request_runner import ErrorRenderer, RequestRunner, native_error_response
from lakehouse.asgi.middleware.websocket_runner import WebSocketRunner
from lakehouse.asgi.request_scope import HEADERS_KEY, REQUEST_KEY, RequestScope
from lakehouse.asgi.server_control import server_control
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrUnavailable

_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._~:+/=@-]{1,128}")

_RUNNERS: dict[str, type[RequestRunner]] = {"http": HttpRequestRunner, "websocket": WebSocketRunner}


class ServedApp:
    """An application with its requests in flight. `render_error` builds the response to a request that failed before
    its response had begun. `idle` is set once the application is replaced and its last request has ended."""

    __slots__ = ("app", "idle", "render_error", "runners")

    def __init__(self, app: App, render_error: ErrorRenderer) -> None:
        self.app = app
        self.render_error = render_error
        self.runners: set[RequestRunner] = set()
        self.idle = trio.Event()


class RequestLifetimeMiddleware:
    """ASGI middleware around everything: gives each request its `RequestContext`, its `RequestScope` and its end.

    `on_end` is called with the context of every request that has ended; it must not raise. A request stays with the
    application that it began with when `replace` gives new ones to another.
    """

    def __init__(
        self,
        app: App,
        *,
        active_requests: ActiveRequests,
        on_end: Callable[[RequestContext], None] | None = None,
        render_error: ErrorRenderer = native_error_response,
    ) -> None:
        self._served = ServedApp(app, render_error)
        self._replaced: set[ServedApp] = set()
        self._active_requests = active_requests
        self._on_end = on_end
        self._id_prefix = secrets.token_hex(4)  # with a number behind it: unique, short and in order; not secret
        self._numbers = count(1)

    def list_requests(self) -> list[RequestRunner]:
        """The requests in flight, of all applications."""
        return [runner for served in (*self._replaced, self._served) for runner in served.runners]

    def drain(self) -> None:
        """End every active request: with 503 where the head has not been sent, a stream with a final event, any other
        response by cutting it."""
        for runner in self.list_requests():
            runner.stop(ErrUnavailable("the service is shutting down", retry_after=1), "drain")

    def replace(self, app: App, render_error: ErrorRenderer = native_error_response) -> ServedApp:
        """Give new requests to another application. Returns the former one, with its requests in flight."""
        former, self._served = self._served, ServedApp(app, render_error)
        self._replaced.add(former)
        self._end_if_idle(former)
        return former

    def _end_if_idle(self, served: ServedApp) -> None:
        if not served.runners and served is not self._served:
            self._replaced.discard(served)
            served.idle.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one scope; one of another type than `http` and `websocket` passes through.

        Raises a `LakehouseError` to make the server cut a response that must not look complete.
        """
        runner_type = _RUNNERS.get(scope["type"])
        if runner_type is None:
            await self._served.app(scope, receive, send)
            return
        served = self._served
        headers = dict(scope["headers"])
        context = self._make_context(scope, headers)
        runner = runner_type(scope, send, context, served.render_error)
        request: RequestScope = runner  # checked by mypy: a scope takes anything
        scope[REQUEST_KEY] = request
        scope[HEADERS_KEY] = headers
        self._active_requests.add(context)
        served.runners.add(runner)
        run = runner.run_watched if runner.server is None else runner.run
        try:
            await run(served.app, scope, receive, headers.get(TIMEOUT_HEADER))
        finally:
            served.runners.discard(runner)
            self._end_if_idle(served)
            self._active_requests.remove(context)
            if context.outcome is None:
                runner.finish_cancelled()
            if (server := runner.server) is not None:
                context.record_bytes(server.bytes_received, server.bytes_sent)
            context.close(trio.current_time())
            if self._on_end is not None:
                self._on_end(context)

    def _make_context(self, scope: Scope, headers: dict[bytes, bytes]) -> RequestContext:
        sent = headers.get(b"x-request-id")
        acceptable = sent is not None and _ACCEPTABLE_ID.fullmatch(sent)
        request_id = (
            sent.decode() if sent is not None and acceptable else f"{self._id_prefix}-{next(self._numbers):06x}"
        )
        method = scope.get("method", "GET")  # a websocket scope has none
        return RequestContext(
            id=request_id,
            method=method,
            path=scope["path"],
            started=trio.current_time(),
            client=server_control(scope),
        )
