"""Answers in place of a services process that cannot start: 503 with the reason, on the same socket."""

from __future__ import annotations

import socket

import trio

from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.errors import ErrUnavailable
from lakehouse.server.server import BoundApp, Service, serve_listeners

DRAIN_TIMEOUT = 1.0
"""Seconds for the last responses to be taken."""


async def serve_unavailable(listener: socket.socket, reason: str, *, seconds: float) -> None:
    """Accept connections on `listener` for `seconds`, and answer every request with 503. The socket stays open."""

    async def refuse(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ErrUnavailable(f"the data services cannot start: {reason}", retry_after=max(1.0, seconds))

    lifetime = RequestLifetimeMiddleware(refuse, active_requests=ActiveRequests())
    stopping = trio.Event()

    async def serve(*, task_status: trio.TaskStatus[Service]) -> None:
        await serve_listeners(
            [BoundApp(lifetime, listener.dup())],
            stopping=stopping,
            drain_timeout=DRAIN_TIMEOUT,
            abort_requests=lifetime.drain,
            task_status=task_status,
        )

    async with trio.open_nursery() as nursery:
        service = await nursery.start(serve)
        await trio.sleep(seconds)
        service.stop()
