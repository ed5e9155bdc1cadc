"""A connection's transport and parser: heads and bodies in, bytes out, each within its limit of time."""

from __future__ import annotations

from enum import Enum
from typing import Final

import trio

from lakehouse.asgi.server_control import FinalResponse
from lakehouse.core.errors import ErrTimeout
from lakehouse.server.http1.request_head import RequestHead
from lakehouse.server.http1.request_parser import RequestParser
from lakehouse.server.server_state import ServerState
from lakehouse.server.transports.transport import ConnectionTransport, Pieces, WriteTimeout

HEAD_READ = 16 * 1024
"""Bytes read at once while a head is awaited: few heads are larger, and bytes behind the head are parsed with it."""

BODY_READ = 64 * 1024
"""Bytes read at once while the application awaits a body."""

LARGE_BODY_READ = 256 * 1024
"""Bytes read at once after a read that was filled, and so the most of a body that is ever held: a large upload takes a
third less time than with `BODY_READ`."""


class ErrSlowBody(ErrTimeout):
    """The request's body stopped arriving."""

    status = 408


class Phase(Enum):
    """What a connection waits for.

    BETWEEN_STEPS ──read_head──> IDLE ──first byte──> HEAD ──head complete──> BETWEEN_STEPS
    BETWEEN_STEPS ──request begins──> BUSY
    IDLE, HEAD ──timeout, end of stream, drain──> BETWEEN_STEPS
    BUSY ──response complete, or request failed──> BETWEEN_STEPS
    """

    IDLE = "the first byte of a request"
    HEAD = "the rest of a head"
    BUSY = "the application: a disconnect of the client cancels the request"
    BETWEEN_STEPS = "nothing: a request has just arrived or ended"


# Looking a member up in its class costs five times as much as these.
IDLE: Final = Phase.IDLE
HEAD: Final = Phase.HEAD
BUSY: Final = Phase.BUSY
BETWEEN_STEPS: Final = Phase.BETWEEN_STEPS


class ConnectionIO:
    """A connection as its requests see it.

    `scope` is the connection's cancel scope. It is cancelled when a head takes too long, when the client leaves while
    the connection is BUSY, and by `interrupt`. `disconnected` is true when the client has left, or has taken nothing of
    its response for so long that it counts as having left.
    """

    __slots__ = (
        "_body_read",
        "_served",
        "_server_state",
        "disconnected",
        "final_response",
        "head_begun",
        "idle_limit",
        "limits",
        "parser",
        "phase",
        "scope",
        "transport",
    )

    def __init__(self, transport: ConnectionTransport, server_state: ServerState) -> None:
        self.transport = transport
        self._server_state = server_state
        self.limits = server_state.limits
        self.parser = RequestParser(server_state.limits)
        self.scope = trio.CancelScope()
        self.final_response: FinalResponse | None = None
        self.phase: Phase = BETWEEN_STEPS
        self.head_begun = False
        """True if the last wait for a head ended after a part of the head had arrived."""
        self.idle_limit: float | None = None
        """Seconds between two pieces of the present request's body or of its response, set by the application; None:
        `limits` applies."""
        self.disconnected = False
        self._body_read = BODY_READ  # how many bytes of a body the next read asks for
        self._served = False  # whether this connection has had a request

    def client_disconnected(self) -> None:
        """The client has left: cancel the request under way. Called by `lakehouse.server.disconnects`."""
        self.disconnected = True
        if self.phase is BUSY:
            self.scope.cancel()

    def interrupt(self, final_response: FinalResponse) -> None:
        """Cancel the request under way, and close the connection after it. `final_response` is awaited when everything
        that the request started has ended."""
        self.final_response = final_response
        self.scope.cancel()

    async def read_head(self) -> RequestHead | None:
        """The next request's head, or None at the end of the connection. Raises `ProtocolError`.

        During a drain only a head that has arrived whole by now is returned. Cancels `scope` when the wait is too long;
        `head_begun` then shows whether a part of the head had arrived.
        """
        if self.parser.empty and not await self._await_head():
            return None
        head = self.parser.take_head()
        if self.disconnected:
            return None
        self._served = True
        return head

    async def _await_head(self) -> bool:
        server_state = self._server_state
        phase = self.phase = HEAD if self.parser.in_head else IDLE  # a part may have arrived with the previous request
        timeouts = server_state.keep_alive_timeouts if self._served and phase is IDLE else server_state.header_timeouts
        cancel = self.scope.cancel
        timeouts.arm(cancel)
        try:
            while True:
                if server_state.draining:
                    data = self.transport.try_read(HEAD_READ)
                else:
                    data = await self.transport.read(HEAD_READ)
                if not data:
                    return False
                self.parser.feed(data)
                if not self.parser.empty:
                    return True
                if self.phase is IDLE:
                    self.phase = HEAD
                    timeouts.disarm(cancel)
                    timeouts = server_state.header_timeouts
                    timeouts.arm(cancel)
        finally:
            self.head_begun = self.phase is HEAD
            self.phase = BETWEEN_STEPS
            timeouts.disarm(cancel)

    async def read_body(self) -> tuple[bytes, bool]:
        """The bytes of the body that have arrived, at least one unless it ends, and whether more will come.

        Raises `ErrSlowBody` and `ProtocolError`. When the client leaves before the end, `scope` is cancelled.
        """
        while True:
            data, ended = self.parser.take_body()
            if data or ended:
                return data, not ended
            size = self._body_read
            data = self.transport.try_read(size) or await self._await_body(size)
            if len(data) == BODY_READ:
                self._body_read = LARGE_BODY_READ
            self.parser.feed(data)

    async def _await_body(self, size: int) -> bytes:
        limit = self.limits.body_timeout if self.idle_limit is None else self.idle_limit
        with trio.move_on_after(limit) as timeout:
            data = await self.transport.read(size)
        if timeout.cancelled_caught:
            raise ErrSlowBody(f"nothing of the request's body arrived for {limit:g} seconds")
        if not data:
            await self.raise_disconnected()
        return data

    async def write(self, pieces: Pieces) -> None:
        """Write all pieces. A client that has left, or takes nothing for too long, cancels `scope`."""
        limit = self.limits.send_timeout if self.idle_limit is None else self.idle_limit
        try:
            await self.transport.write(pieces, limit)
        except (WriteTimeout, trio.BrokenResourceError):
            await self.raise_disconnected()

    async def raise_disconnected(self) -> None:
        """Note that the client has left, and let the cancellation arrive here. Raises `BrokenResourceError` in code
        that is shielded from it."""
        self.client_disconnected()
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError("the client has disconnected")

    async def discard_body(self) -> bool:
        """Read the rest of a body that the application has not read, for `linger_timeout`; true at its end.

        Its size is bounded by `max_discarded_body`: with more than that to come, the response has announced a close.
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
        """Half-close, and read on within limits before the connection is closed on a client that may still send.

        Closing at once would reset the connection, and the reset would overtake the response (nginx's
        `lingering_close`).
        """
        self.transport.send_eof()
        left = self.limits.linger_bytes
        with trio.move_on_after(self.limits.linger_timeout):
            while left > 0:
                data = await self.read_unparsed()
                if not data:
                    return
                left -= len(data)

    async def read_unparsed(self) -> bytes:
        """Bytes past the parser, b"" at the end of the stream: of another protocol, or to be discarded."""
        data = self.transport.try_read(BODY_READ)
        return await self.transport.read(BODY_READ) if data is None else data
