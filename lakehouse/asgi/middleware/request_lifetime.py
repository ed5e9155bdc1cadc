"""The life of one request, under any ASGI server: who owns it, how long it may last, and how it ends.

    client leaves ──┐
    deadline ───────┼──> one cancel scope around the application ──> everything it started ends
    drain ──────────┘

Then there is an answer if the head is not out (504, 503, the error's own JSON, or a plain 500). If it is, a stream of
events has a last one that says so, and anything else is cut, for a response that broke off must not look complete.

Under our own connection the server cancels when the client leaves. Under any other, a `ReceiveForwarder` finds out.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from itertools import count

import trio

from lakehouse.asgi.middleware.request_lifecycle import (
    ErrorRenderer,
    HttpRequestLifecycle,
    RequestLifecycle,
    native_error_response,
)
from lakehouse.asgi.middleware.websocket_lifecycle import WebSocketLifecycle
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.core.context import ActiveRequests, RequestContext
from lakehouse.core.errors import ErrUnavailable

CLIENT_LEFT = 499
"""What the log says of a request whose client did not wait: nginx's number."""

_SANE_ID = re.compile(rb"[A-Za-z0-9._~:+/=@-]{1,128}")

_LINES: dict[str, type[RequestLifecycle]] = {"http": HttpRequestLifecycle, "websocket": WebSocketLifecycle}


class RequestLifetimeMiddleware:
    """ASGI middleware around everything: gives each request its `RequestContext` and its end.

    `scope["lakehouse"]` is the flight, `scope["lakehouse.stream_begins"](last_event)` takes the caller's deadline away
    once an answer that may go on for long has begun, and has what ends it early told in it; `send` takes `asgi.FULL_RESPONSE_MESSAGE`
    as well. `on_end` is called with every flight that has ended, its `status` and `outcome` filled in; it must not
    raise. `refusal` says how a failure is told in place of an answer.
    """

    def __init__(
        self,
        app: App,
        *,
        active_requests: ActiveRequests,
        on_end: Callable[[RequestContext], None] | None = None,
        refusal: ErrorRenderer = native_error_response,
    ) -> None:
        self._app = app
        self._active_requests = active_requests
        self._on_end = on_end
        self._refusal = refusal
        self._lines: set[RequestLifecycle] = set()
        self._prefix = secrets.token_hex(4)  # with a number behind it: unique, short, in order, and no secret
        self._numbers = count(1)

    def drain(self) -> None:
        """End every request that is still here: 503 where the head is not out, else a stream's last event, or a cut."""
        for line in tuple(self._lines):
            line.end(ErrUnavailable("the service is shutting down", retry_after=1), "drain")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application for one scope; what is neither `http` nor `websocket` passes through.

        Raises a `LakehouseError` to have the server cut a response that must not look complete.
        """
        kind = _LINES.get(scope["type"])
        if kind is None:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        context = self._context(scope, headers)
        line = kind(scope.get("extensions") or {}, send, context, self._refusal)
        scope["lakehouse"] = context
        scope["lakehouse.stream_begins"] = line.stream_begins
        self._active_requests.add(context)
        self._lines.add(line)
        run = line.run if line.cancelled_by_server else line.run_watched
        try:
            await run(self._app, scope, receive, headers.get(b"x-request-timeout-ms"))
        finally:
            self._lines.discard(line)
            self._active_requests.remove(context)
            if context.outcome is None and not line.ended_from_outside():
                context.outcome = "client left" if line.gone else "cancelled"
                if line.gone:
                    context.status = CLIENT_LEFT
            if self._on_end is not None:
                self._on_end(context)

    def _context(self, scope: Scope, headers: dict[bytes, bytes]) -> RequestContext:
        asked = headers.get(b"x-request-id")
        sane = asked is not None and _SANE_ID.fullmatch(asked)
        name = asked.decode() if asked is not None and sane else f"{self._prefix}-{next(self._numbers):06x}"
        method = scope.get("method", "GET")  # a websocket scope has none
        return RequestContext(id=name, method=method, path=scope["path"], started=trio.current_time())
