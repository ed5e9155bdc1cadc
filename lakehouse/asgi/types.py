"""The types of ASGI 3, and what every server and application here shares about header fields and responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderPairs = Iterable[tuple[bytes, bytes]]
"""Header fields as ASGI has them: names in lower case, in their order, duplicates kept."""

DENIAL = "websocket.http.response"
"""ASGI's extension for refusing a WebSocket handshake with an HTTP response; the prefix of its message types."""


class ResponseError(ValueError):
    """Raised by a server's `send` for a message that cannot be sent. Nothing of the message has been written."""
