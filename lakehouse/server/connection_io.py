"""A wire and its parser: heads and bodies in, bytes out, each in its time, and the scope that ends with the client."""

from __future__ import annotations

import trio

from lakehouse.asgi.server_control import FinalResponse
from lakehouse.core.errors import ErrTimeout
from lakehouse.server.request_head import RequestHead
from lakehouse.server.request_parser import RequestParser
from lakehouse.server.server_state import ServerState
from lakehouse.server.transport import Pieces, Transport, WriteTimeout

HEAD_READ = 16 * 1024
"""Bytes asked for while waiting for a head: few heads are larger, and what is behind it is parsed with it."""

BODY_READ = 64 * 1024
"""Bytes asked for when the application wants body, and so the most of it that is ever held."""


class ErrSlowBody(ErrTimeout):
    """The request's body stopped arriving."""

    status = 408


class ConnectionIO:
    """What an exchange sees of its connection.

    `scope` is the connection's cancel scope. It is cancelled when a head is awaited for too long, when the client
    leaves while `busy`, that is, while there is someone to answer, and by `interrupt`. `disconnected` says that the client has
    left, or that it took nothing of its answer for too long, which is treated as the same.
    """

    __slots__ = (
        "_server_state",
        "awaits_head",
        "busy",
        "disconnected",
        "final_response",
        "idle",
        "idle_limit",
        "limits",
        "parser",
        "scope",
        "served",
        "transport",
    )

    def __init__(self, transport: Transport, server_state: ServerState) -> None:
        self.transport = transport
        self._server_state = server_state
        self.limits = server_state.limits
        self.parser = RequestParser(server_state.limits)
        self.scope = trio.CancelScope()
        self.final_response: FinalResponse | None = None
        self.awaits_head = False  # waiting for a request's head, or for the rest of one
        self.idle = False  # waiting for the first byte of a request
        self.idle_limit: float | None = None
        """Seconds between two pieces of the present request's body or of its answer, where the application says so;
        None: `limits` says it."""
        self.busy = False
        self.disconnected = False
        self.served = False  # whether this connection has had a request

    def client_disconnected(self) -> None:
        """The client is gone: whatever is done for it ends now."""
        self.disconnected = True
        if self.busy:
            self.scope.cancel()

    def interrupt(self, final_response: FinalResponse) -> None:
        """Cancel the request under way, and close the connection after it. `final_response` is awaited when everything
        that the request started has ended."""
        self.final_response = final_response
        self.scope.cancel()

    async def read_head(self) -> RequestHead | None:
        """The next request's head, or None when there will be none. Raises `ProtocolError`.

        While the door drains, only a head that has arrived whole by now is one. Cancels `scope` when the wait is too
        long; `idle` then tells whether any of the head had arrived.
        """
        if self.parser.empty and not await self._await_head():
            return None
        head = self.parser.take_head()
        if self.disconnected:
            return None
        self.served = True
        return head

    async def _await_head(self) -> bool:
        server_state = self._server_state
        self.awaits_head = True
        self.idle = not self.parser.in_head  # a part of it may have come with the request before
        timeout = server_state.keep_alive_timeouts if self.served and self.idle else server_state.header_timeouts
        lost = self.scope.cancel
        timeout.arm(lost)
        try:
            while True:
                data = (
                    self.transport.try_receive(HEAD_READ)
                    if server_state.draining
                    else await self.transport.receive(HEAD_READ)
                )
                if not data:
                    return False
                self.parser.feed(data)
                if not self.parser.empty:
                    self.idle = False
                    return True
                if self.idle:
                    self.idle = False
                    timeout.disarm(lost)
                    timeout = server_state.header_timeouts
                    timeout.arm(lost)
        finally:
            self.awaits_head = False
            timeout.disarm(lost)

    async def read_body(self) -> tuple[bytes, bool]:
        """What has arrived of the body, at least a byte unless it ends, and whether there is more to come.

        Raises `ErrSlowBody` and `ProtocolError`. When the client leaves before the end, `scope` is cancelled.
        """
        while True:
            data, ended = self.parser.take_body()
            if data or ended:
                return data, not ended
            data = self.transport.try_receive(BODY_READ) or await self._await_body()
            self.parser.feed(data)

    async def _await_body(self) -> bytes:
        limit = self.limits.body_timeout if self.idle_limit is None else self.idle_limit
        with trio.move_on_after(limit) as timeout:
            data = await self.transport.receive(BODY_READ)
        if timeout.cancelled_caught:
            raise ErrSlowBody(f"nothing of the request's body arrived for {limit:g} seconds")
        if not data:
            await self.raise_disconnected()
        return data

    async def write(self, pieces: Pieces) -> None:
        """Write all pieces; a client that is gone, or takes nothing for too long, cancels `scope`."""
        limit = self.limits.write_stall if self.idle_limit is None else self.idle_limit
        try:
            await self.transport.send(pieces, limit)
        except (WriteTimeout, trio.BrokenResourceError):
            await self.raise_disconnected()

    async def raise_disconnected(self) -> None:
        """Leave, and let the cancellation arrive here; where it is shielded, `BrokenResourceError` is the answer."""
        self.client_disconnected()
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError("the client is gone")

    async def discard_body(self) -> bool:
        """Read the rest of a body that nobody wants, for a while; True when its end was reached.

        Its size is bounded by `discard_bytes`: with more than that to come, the response has announced a close.
        """
        with trio.move_on_after(self.limits.linger_timeout):
            while not self.parser.take_body()[1]:
                data = await self.read_unparsed()
                if not data:
                    return False
                self.parser.feed(data)
            return True
        return False

    async def linger(self) -> None:
        """Before closing on a client that may still send: read on within bounds, lest a reset overtake our answer."""
        self.transport.send_eof()
        left = self.limits.linger_bytes
        with trio.move_on_after(self.limits.linger_timeout):
            while left > 0:
                data = await self.read_unparsed()
                if not data:
                    return
                left -= len(data)

    async def read_unparsed(self) -> bytes:
        """Bytes past the parser, b"" at the end; for what is no HTTP, or not wanted."""
        data = self.transport.try_receive(BODY_READ)
        return await self.transport.receive(BODY_READ) if data is None else data
