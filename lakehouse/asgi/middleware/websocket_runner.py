"""The runner of a request of type `websocket`."""

from __future__ import annotations

from lakehouse.asgi.middleware.request_runner import COMPLETE, NOT_STARTED, STARTED, ErrorRenderer, RequestRunner
from lakehouse.asgi.middleware.standard_headers import add_request_id
from lakehouse.asgi.types import DENIAL, Message, Scope, Send
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrSessionStopped, ErrUnavailable, LakehouseError

CLOSE_CODES = {ErrUnavailable: 1001, ErrSessionStopped: 1008}
"""Going away, and a violation of a policy: a client that is told so does not connect again by itself."""

INTERNAL_ERROR = 1011


class WebSocketRunner(RequestRunner):
    """The runner of a request of type `websocket`.

    Before the handshake is answered a failure is sent as a denial with its status, afterwards as a close frame.
    """

    __slots__ = ("_can_deny",)

    def __init__(self, scope: Scope, send: Send, context: RequestContext, render_error: ErrorRenderer) -> None:
        super().__init__(scope, send, context, render_error)
        self._can_deny = DENIAL in (scope.get("extensions") or {})

    @property
    def may_return(self) -> bool:
        """Whether the handshake has been answered: the server closes an open WebSocket for the application."""
        answered = self.state is not NOT_STARTED
        return answered and self._deadline_scope is not None and not self._deadline_scope.cancelled_caught

    async def send(self, message: Message) -> None:
        """The application's `send`: adds `X-Request-Id` to the answer to the handshake, and records its status."""
        kind = message["type"]
        if kind in ("websocket.accept", f"{DENIAL}.start"):
            message = {**message, "headers": add_request_id(message, self.context)}
            self.context.record_response_status(message.get("status", 101))
        elif kind == "websocket.close" and self.state is NOT_STARTED:
            self.context.record_response_status(403)
        await self._send(message)
        last = kind == "websocket.close" or (kind == f"{DENIAL}.body" and not message.get("more_body", False))
        self.state = COMPLETE if last else STARTED

    async def _send_error(self, failure: LakehouseError) -> None:
        if self.state is not NOT_STARTED:
            code = CLOSE_CODES.get(type(failure), INTERNAL_ERROR)
            # The reason of a close frame has room for 123 bytes.
            await self.send({"type": "websocket.close", "code": code, "reason": failure.code})
        elif self._can_deny:
            await self._render_error(self.context, failure).send_to(self._deny)
        else:
            await self.send({"type": "websocket.close"})

    async def _deny(self, message: Message) -> None:
        await self.send({**message, "type": message["type"].replace("http.response", DENIAL)})
