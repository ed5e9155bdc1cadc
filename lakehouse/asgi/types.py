"""The shapes of ASGI 3 and two things that every small ASGI application needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from lakehouse.core.errors import ErrTooLarge, LakehouseError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Write = Callable[[bytes], Awaitable[None] | None]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
LastEvent = Callable[[LakehouseError], bytes]  # how a failure is told at the end of a stream
StreamBegins = Callable[[LastEvent], None]

SERVER_CONTROL_EXTENSION = "lakehouse.cancels"
"""The extension by which a server says that it cancels the application when the client leaves, so that nobody needs to
watch `receive` for it. Its value has an attribute `gone`, which says afterwards whether that happened; one
`body_is_here`, which says whether the whole body of the request is one `receive` away; and a method `interrupt`, which
cancels the application and then awaits what it was given, the request's last words, where that is no WebSocket. The
application may set `idle_limit`, seconds: how long the client may take nothing of its answer, or send nothing of its
body."""

FULL_RESPONSE_MESSAGE = "lakehouse.whole"
"""The type of a message that is a whole response, with `status`, `headers` and `body`, where ASGI has two. Lifelines
take it, and servers that say `SERVER_CONTROL_EXTENSION`. `headers` is a list that the sender gives away, without an `X-Request-Id`."""

DIRECT_WRITE_EXTENSION = "lakehouse.writes"
"""The key of a scope under which a server has a `Write`, which takes pieces of a body without messages: it is `send` of
a message with these bytes and more to come, after at least one such message. It returns None when there is nothing to
wait for; else what it returns is to be awaited at once, and raises what `send` does."""

BARE_QUERY = "lakehouse.bare_query"
"""The key of a scope under which a server says that the target ends in a `?` with nothing behind it. `query_string` is
empty then, as it is without a `?`, but it is another target."""

DENIAL = "websocket.http.response"
"""ASGI's extension by which a WebSocket's handshake is refused with a whole HTTP response; its messages begin so."""

_encoder = msgspec.json.Encoder()


class ResponseError(ValueError):
    """A message of the application cannot be sent; nothing of this message was sent."""


async def send_json(send: Send, status: int, document: object, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send a whole response: `document` as JSON, its length, and `headers` after ours."""
    body: bytes = _encoder.encode(document)
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole request body.

    Raises `ErrTooLarge` as soon as it is over `limit` bytes, which are then all that was kept, and
    `ConnectionResetError` when the server reports that the client left before its end.
    """
    parts: list[bytes] = []
    left = limit
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client left before the end of its request's body")
        part: bytes = message.get("body", b"")
        left -= len(part)
        if left < 0:
            raise ErrTooLarge(f"the request's body is larger than {limit} bytes")
        if not message.get("more_body", False):
            return b"".join(parts) + part if parts else part
        parts.append(part)
