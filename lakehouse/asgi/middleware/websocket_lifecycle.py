"""The line of a `websocket` scope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakehouse.asgi.middleware.request_lifecycle import ErrorRenderer, RequestLifecycle
from lakehouse.asgi.middleware.standard_headers import add_request_id
from lakehouse.asgi.types import DENIAL, Message, Send, send_json
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrUnavailable, LakehouseError

GOING_AWAY = 1001
INTERNAL_ERROR = 1011


class WebSocketLifecycle(RequestLifecycle):
    """The line of a `websocket` scope: before the handshake is answered a failure is a denial with its status, after
    it a close frame."""

    __slots__ = ("_denials", "complete", "head_out")

    def __init__(
        self, extensions: Mapping[str, Any], send: Send, context: RequestContext, refusal: ErrorRenderer
    ) -> None:
        super().__init__(extensions, send, context, refusal)
        self.head_out = False
        self.complete = False
        self._denials = DENIAL in extensions

    @property
    def may_return(self) -> bool:
        """An application that leaves has said all; the server closes for it."""
        return self.head_out and self._limit is not None and not self._limit.cancelled_caught

    async def send(self, message: Message) -> None:
        """The application's `send`: adds `X-Request-Id` to the handshake's answer, and knows what is out."""
        kind = message["type"]
        if kind in ("websocket.accept", f"{DENIAL}.start"):
            message = {**message, "headers": add_request_id(message, self.context)}
            self.context.status = message.get("status", 101)
        elif kind == "websocket.close" and not self.head_out:
            self.context.status = 403
        await self._send(message)
        self.head_out = True
        if kind == "websocket.close" or (kind == f"{DENIAL}.body" and not message.get("more_body", False)):
            self.complete = True

    async def _send_error(self, failure: LakehouseError) -> None:
        if self.head_out:
            code = GOING_AWAY if isinstance(failure, ErrUnavailable) else INTERNAL_ERROR
            # A close frame's reason has room for 123 bytes.
            await self.send({"type": "websocket.close", "code": code, "reason": failure.code})
        elif self._denials:
            status, document, headers = self._refusal(self.context, failure)
            await send_json(self._deny, status, document, [(name.encode(), value.encode()) for name, value in headers])
        else:
            await self.send({"type": "websocket.close"})

    async def _deny(self, message: Message) -> None:
        await self.send({**message, "type": message["type"].replace("http.response", DENIAL)})
