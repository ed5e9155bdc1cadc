"""A client connection over a plain socket, used directly.

The socket is tried first and waited for only when it is not ready: most writes take no turn of trio's scheduler. A busy
connection yields when its fairness budget is used up.
"""

from __future__ import annotations

import socket

import trio

from lakehouse.net.fairness import FairnessBudget
from lakehouse.net.transfer_rate import unacknowledged_bytes
from lakehouse.server.transports.transport import COALESCE_BELOW, ConnectionTransport, Pieces, WriteTimeout


class SocketTransport(ConnectionTransport):
    """A plain TCP or Unix socket, detached from its `trio.SocketStream`, which must not be used afterwards."""

    __slots__ = ("_budget", "_socket")

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__()
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)
        self._budget = FairnessBudget()

    def socket(self) -> socket.socket:
        """The socket."""
        return self._socket

    def try_read(self, size: int) -> bytes | None:
        """Implements `ConnectionTransport`. Charged; None also when the budget is used up."""
        budget = self._budget
        if budget.left <= 0:
            return None
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        budget.left -= 1
        return data

    async def read(self, size: int) -> bytes:
        """Implements `ConnectionTransport`. It is always a checkpoint."""
        while True:
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except trio.ClosedResourceError:  # `interrupt_read`
                self._budget.refill()
                return self.try_read(size) or b""
            budget = self._budget
            budget.left = budget.size
            data = self.try_read(size)
            if data is not None:
                return data

    def interrupt_read(self) -> None:
        """Implements `ConnectionTransport`."""
        trio.lowlevel.notify_closing(self._socket)

    def try_write(self, data: bytes, *, charged: bool) -> bytes | memoryview:
        """Implements `ConnectionTransport`. On a broken transport all of `data` is left, and `write` raises."""
        budget = self._budget
        if charged:
            if budget.left <= 0:
                return data
            budget.left -= 1
        if self.broken:
            return data
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            return data
        except OSError:
            self.broken = True
            return data
        if sent == len(data):
            return b""
        budget.refill()  # so that `write` tries the socket before its first checkpoint, where it may be cancelled
        return memoryview(data)[sent:]

    async def write(self, pieces: Pieces, stall: float) -> None:
        """Implements `ConnectionTransport`."""
        if self.broken:
            raise trio.BrokenResourceError("an earlier write was cut short")
        budget = self._budget
        if budget.left <= 0:
            await budget.yield_and_refill()
        budget.left -= 1
        size = sum(map(len, pieces))
        try:
            if size < COALESCE_BELOW:
                pieces = [b"".join(pieces)]
                sent = self._socket.send(pieces[0])
            else:
                sent = self._socket.sendmsg(pieces)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.broken = True
            raise trio.BrokenResourceError(str(error)) from error
        if sent < size:
            await self._write_rest(memoryview(b"".join(pieces))[sent:], stall)

    async def _write_rest(self, data: memoryview, stall: float) -> None:
        self.broken = True  # until all is written
        rate, sock = self._minimum_rate(stall), self._socket
        rate.start_waiting()
        while data:
            sent = 0
            with trio.move_on_after(rate.step) as timeout:
                await trio.lowlevel.wait_writable(sock)
            self._budget.refill()
            if not timeout.cancelled_caught:
                try:
                    sent = sock.send(data)
                except BlockingIOError:
                    pass
                except OSError as error:
                    raise trio.BrokenResourceError(str(error)) from error
            data = data[sent:]
            rate.check_progress(lambda: unacknowledged_bytes(sock.fileno()), sent)
            if data and rate.exhausted:
                raise WriteTimeout
        self.broken = False

    def send_eof(self) -> None:
        """Implements `ConnectionTransport`."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.broken = True

    async def close(self) -> None:
        """Implements `ConnectionTransport`."""
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
