"""The runner of a request of type `http`."""

from __future__ import annotations

from collections.abc import Awaitable

import trio

from lakehouse.asgi.middleware.disconnect_watcher import DisconnectWatcher
from lakehouse.asgi.middleware.request_runner import COMPLETE, NOT_STARTED, STARTED, ErrorRenderer, RequestRunner
from lakehouse.asgi.middleware.standard_headers import ATTEMPTS, add_request_id, add_server_timing
from lakehouse.asgi.server_control import FULL_RESPONSE
from lakehouse.asgi.types import Message, Receive, ResponseError, Scope, Send
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError

FINAL_SEND_TIMEOUT = 30.0
"""Seconds that a foreign server has for the last message, during which it must not be cancelled. Our own server gives
a client that reads nothing as much time."""


class HttpRequestRunner(RequestRunner):
    """The runner of a request of type `http`.

    The head of the response is held until the first piece of the body: until then a failure can still become the
    response.
    """

    server_can_interrupt = True
    __slots__ = ("_head", "_trailers", "_watcher")

    def __init__(self, scope: Scope, send: Send, context: RequestContext, render_error: ErrorRenderer) -> None:
        super().__init__(scope, send, context, render_error)
        self._head: Message | None = None
        self._trailers = False
        self._watcher: DisconnectWatcher | None = None

    def _make_watcher(self, receive: Receive, scope: trio.CancelScope) -> DisconnectWatcher:
        self._watcher = watcher = super()._make_watcher(receive, scope)
        return watcher

    def send(self, message: Message) -> Awaitable[None]:
        """The application's `send`: adds `X-Request-Id`, and records the status and what has been sent."""
        kind = message["type"]
        return self._send_full(message) if kind == FULL_RESPONSE else self._send_part(message, kind)

    async def _send_part(self, message: Message, kind: str) -> None:
        if kind == "http.response.start":
            self._head = {**message, "headers": add_request_id(message, self.context)}
            return
        head = self._head
        if head is not None:
            if not message.get("more_body", False):
                head = add_server_timing(head, self.context)
            await self._send(head)
            self._head = None
            self.state = STARTED
            self.context.record_response_status(head["status"])
            self._trailers = head.get("trailers", False)
        if kind == "http.response.body":
            last = not message.get("more_body", False) and not self._trailers
        else:
            last = kind == "http.response.trailers" and not message.get("more_trailers", False)
        if not last:
            await self._send(message)
        elif self._watcher is None:
            await self._send(message)
            self.state = COMPLETE
        else:
            await self._send_last(message, self._watcher)

    async def _send_full(self, message: Message) -> None:
        message["headers"].append((b"x-request-id", self.context.id.encode()))
        if self.server is None:
            await self.send({**message, "type": "http.response.start"})
            await self.send({"type": "http.response.body", "body": message["body"], "more_body": False})
            return
        self._head, self.state = None, STARTED
        self.context.record_response_status(message["status"])
        try:
            await self._send(message)
        except ResponseError:
            self.state = NOT_STARTED  # nothing of the message was sent
            raise
        self.state = COMPLETE

    async def _send_last(self, message: Message, watcher: DisconnectWatcher) -> None:
        """Send the last message under a foreign server, which may leave the connection open if it is cancelled here."""
        watcher.finish()
        with trio.CancelScope(shield=True, relative_deadline=FINAL_SEND_TIMEOUT):
            await self._send(message)
            self.state = COMPLETE

    async def _send_error(self, failure: LakehouseError) -> None:
        if self.state is not NOT_STARTED:
            if self._encode_error is None:
                raise failure
            await self.send({"type": "http.response.body", "body": self._encode_error(failure), "more_body": False})
            return
        self._head = None
        response = self._render_error(self.context, failure)
        if failure.attempts and ATTEMPTS not in dict(response.headers):
            attempts = (ATTEMPTS, b"%d" % len(failure.attempts))
            response = response._replace(headers=(*response.headers, attempts))
        await response.send_to(self.send)
