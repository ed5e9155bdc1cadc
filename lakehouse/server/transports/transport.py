"""The interface of what carries a client connection's bytes. `SocketTransport` and `StreamTransport` implement it.

The verbs: `try_read` and `try_write` never wait; `read` and `write` wait as long as their limits allow.
"""

from __future__ import annotations

import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence

import trio

from lakehouse.net.transfer_rate import MinimumRate

COALESCE_BELOW = 16 * 1024
"""Pieces smaller than this together are copied into one buffer; larger ones are written without a copy (`sendmsg`)."""

Address = tuple[str, int]
Pieces = Sequence[bytes | memoryview]

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class WriteTimeout(Exception):
    """The client took nothing for as long as the limit allows, or too little for longer."""


class ConnectionTransport(ABC):
    """A connection's transport, for one reader and one writer at a time.

    `broken` is true once a write was cut short, by cancellation or by the client: no further write can follow it.
    """

    __slots__ = ("_rate", "broken")
    secure = False

    def __init__(self) -> None:
        self.broken = False
        self._rate: MinimumRate | None = None  # of a client that has made a write wait

    def _minimum_rate(self, limit: float) -> MinimumRate:
        """The client's account of waiting, which goes on from one write to the next."""
        rate = self._rate
        if rate is None or rate.limit != limit:
            self._rate = rate = MinimumRate(limit)
        return rate

    @abstractmethod
    def try_read(self, size: int) -> bytes | None:
        """At most `size` bytes that have arrived, b"" at the end of the stream, None if `read` has to wait for them."""

    @abstractmethod
    async def read(self, size: int) -> bytes:
        """Wait for at most `size` bytes; b"" at the end of the stream, after a reset, or after `interrupt_read`.

        Cancelled, it loses nothing.
        """

    @abstractmethod
    def interrupt_read(self) -> None:
        """Make a waiting `read` return the bytes that have arrived by now, or b""."""

    def try_write(self, data: bytes, *, charged: bool) -> bytes | memoryview:  # noqa: ARG002
        """Write what can be written without waiting: the bytes left, which must follow by `write` with nothing between.

        `charged` takes one unit of the fairness budget; with an empty budget all of `data` is left. Bytes that come
        from another connection are not charged, because the read that brought them was.
        """
        return data

    @abstractmethod
    async def write(self, pieces: Pieces, stall: float) -> None:
        """Write all pieces.

        Raises `WriteTimeout` after `stall` seconds without progress, or with less than `MinimumRate` demands, and
        `trio.BrokenResourceError` when the client has left or the transport is `broken`. Cancelled half-way, it leaves
        the transport `broken`.
        """

    @abstractmethod
    def send_eof(self) -> None:
        """Half-close: no more will be written, while the client may still send."""

    def abort(self) -> None:
        """Have `close` reset the connection, where an orderly end would make a cut response look complete."""
        self.broken = True
        sock = self.socket()
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)

    @abstractmethod
    async def close(self) -> None:
        """Close without waiting for anything to be delivered; at once when cancelled."""

    @abstractmethod
    def socket(self) -> socket.socket | trio.socket.SocketType | None:
        """The underlying socket, if there is one, for its addresses and for `disconnects`."""

    def addresses(self) -> tuple[Address | None, tuple[str, int | None] | None]:
        """Client and server as ASGI has them: a Unix socket is a server with a path, whose clients have no address."""
        sock = self.socket()
        if sock is None:
            return None, None
        if sock.family == socket.AF_UNIX:
            return None, (str(sock.getsockname()), None)
        return sock.getpeername()[:2], sock.getsockname()[:2]
