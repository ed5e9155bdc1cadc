"""Bodies on their way through: the client's to the upstream, the upstream's to the client.

Neither is kept. A piece is asked for when the one before it has been taken on the other side, so a reader that stalls
stops the sender, and what is held of a body is what one read gave.
"""

from __future__ import annotations

import trio

from lakehouse.asgi.types import Receive, Send
from lakehouse.gateway.headers import trailers as trailers_of
from lakehouse.net.http1.fields import Headers
from lakehouse.upstream.response import UpstreamResponse


class RequestBody:
    """The client's body as `Upstream.request` takes it. `length` is in bytes, None for a body of unknown length."""

    __slots__ = ("_more", "_receive", "length")

    def __init__(self, receive: Receive, length: int | None) -> None:
        self.length = length
        self._receive = receive
        self._more = True

    async def receive(self) -> bytes:
        """The next piece as it arrived, b"" at the end. Raises trio.BrokenResourceError if the client left before."""
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
    """Send a response's head with these headers, and its body as it arrives, each piece in one write.

    What has arrived together leaves together: a small answer is one write, its end included. Raises what
    `UpstreamResponse.receive` raises; the client's response is then incomplete.
    """
    body = kind + ".body"
    await send({"type": kind + ".start", "status": response.status, "headers": headers, "trailers": trailers})
    if not response.complete and not response.waiting:
        # The head is not kept waiting for a body that may take its time.
        await send({"type": body, "body": b"", "more_body": True})
    while True:
        data = await response.receive()
        if response.complete:
            break
        await send({"type": body, "body": data, "more_body": True})
    await send({"type": body, "body": data, "more_body": False})
    if trailers:
        await send({"type": kind + ".trailers", "headers": trailers_of(response.trailers), "more_trailers": False})
