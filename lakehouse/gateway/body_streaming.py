"""Request bodies from the client to the upstream, and response bodies back, without buffering.

The next piece is read when the one before it has been written to the other side. A reader that stalls therefore stops
the sender, and the memory held for a body is the result of one read.
"""

from __future__ import annotations

import trio

from lakehouse.asgi.types import Receive, Send
from lakehouse.gateway.headers import filter_trailers as trailers_of
from lakehouse.net.http1.fields import Headers
from lakehouse.upstream.http1.response import UpstreamResponse


class RequestBody:
    """The client's body in the form that `UpstreamRequest` takes. `length` is in bytes, None if it is unknown."""

    __slots__ = ("_more", "_receive", "length")

    def __init__(self, receive: Receive, length: int | None) -> None:
        self.length = length
        self._receive = receive
        self._more = True

    async def receive(self) -> bytes:
        """The next piece as it arrived, b"" at the end. Raises trio.BrokenResourceError if the client leaves before."""
        while self._more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise trio.BrokenResourceError("the client left before the end of its request's body")
            self._more = message.get("more_body", False)
            if data := message.get("body", b""):
                return bytes(data)
        return b""


async def send_response(
    response: UpstreamResponse, headers: Headers, send: Send, *, kind: str = "http.response", trailers: bool = False
) -> None:
    """Send the head with these headers, then the body as it arrives, each piece in one write.

    Bytes that arrived together are sent together: a small response is one write, its end included. `kind` is the prefix
    of ASGI's message types. Raises what `UpstreamResponse.receive` raises; the client's response is then incomplete.
    """
    body = kind + ".body"
    await send({"type": kind + ".start", "status": response.status, "headers": headers, "trailers": trailers})
    if not response.complete and not response.waiting:
        # The head is sent at once: the body may take long to begin.
        await send({"type": body, "body": b"", "more_body": True})
    while True:
        data = await response.receive()
        if response.complete:
            break
        await send({"type": body, "body": data, "more_body": True})
    await send({"type": body, "body": data, "more_body": False})
    if trailers:
        await send({"type": kind + ".trailers", "headers": trailers_of(response.trailers), "more_trailers": False})
