"""What a connection's bytes travel on: a socket used directly, or any trio stream (TLS) behind the same face.

A plain socket is tried first and waited for only when the kernel says so: most writes need no turn of trio's scheduler.
The price is that a busy connection might never let the others run, so after `FAIRNESS_BUDGET` operations in a row without a
wait it yields.
"""

from __future__ import annotations

import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress

import trio

from lakehouse.net.fairness import FairnessBudget
from lakehouse.net.pace import Pace, unacknowledged
from lakehouse.net.poller import Interest, Poller

COALESCE_BELOW = 16 * 1024
"""Pieces smaller than this together are copied into one buffer; larger ones leave by `sendmsg`, uncopied."""

CLOSE_NOTIFY = 1.0
"""Seconds for TLS's goodbye; the client needs it only to tell the end of a body without a length from a cut."""

Address = tuple[str, int]
Pieces = Sequence[bytes | memoryview]


class WriteTimeout(Exception):
    """The client took nothing for as long as the limit allows, or too little for longer."""


class Transport(ABC):
    """A connection's transport, for one reader and one writer at a time.

    `broken` is true once a write was cut short, by cancellation or by the client: nothing sensible can follow it.
    """

    __slots__ = ("_pace", "broken")
    secure = False

    def __init__(self) -> None:
        self.broken = False
        self._pace: Pace | None = None  # of a client that has had to be waited for

    def _pace_within(self, limit: float) -> Pace:
        """The client's account, which goes on from one write to the next."""
        pace = self._pace
        if pace is None or pace.limit != limit:
            self._pace = pace = Pace(limit)
        return pace

    @abstractmethod
    def try_receive(self, size: int) -> bytes | None:
        """What is there already, b"" at the end, or None when one would have to wait for it."""

    @abstractmethod
    async def receive(self, size: int) -> bytes:
        """Wait for at most `size` bytes; b"" at the end, after a reset, or after `interrupt_read`. Cancelling loses nothing."""

    @abstractmethod
    def interrupt_read(self) -> None:
        """Make a waiting `receive` return what is there at this moment, or b""."""

    def try_send(self, data: bytes) -> bytes | memoryview:
        """Write what can be written without waiting. What is left has to follow by `send`, with nothing in between.

        It is not counted in `FAIRNESS_BUDGET`: what is written so has come from somewhere else, and there it was counted.
        """
        return data

    def try_send_fair(self, data: bytes) -> bytes | memoryview:
        """`try_send`, but counted: what is left may be all of it, so that the others run."""
        return data

    @abstractmethod
    async def send(self, pieces: Pieces, stall: float) -> None:
        """Write all pieces.

        Raises `WriteTimeout` after `stall` seconds without progress, or less than `Pace` asks for, and
        `trio.BrokenResourceError` when the client is gone or the wire is `broken`, as it is when this is cancelled
        half-way.
        """

    @abstractmethod
    def send_eof(self) -> None:
        """Tell the client that nothing more will come, while it may still send."""

    def abort(self) -> None:
        """Have the coming `close` look like the failure that it is, where an orderly end would look like success."""
        self.broken = True
        sock = self.socket()
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset

    @abstractmethod
    async def close(self) -> None:
        """Close without waiting for anything to be delivered; at once when cancelled."""

    @abstractmethod
    def socket(self) -> socket.socket | trio.socket.SocketType | None:
        """The socket underneath, if there is one: for its addresses and for `Poller`."""

    def addresses(self) -> tuple[Address | None, tuple[str, int | None] | None]:
        """Client and server as ASGI has them; a Unix socket is a server of a path, with clients of no name."""
        sock = self.socket()
        if sock is None:
            return None, None
        if sock.family == socket.AF_UNIX:
            return None, (str(sock.getsockname()), None)
        return sock.getpeername()[:2], sock.getsockname()[:2]

    def watch_disconnect(self, disconnects: Poller, callback: Callable[[], None]) -> None:
        """Have `callback` called when the client goes; over a stream without a socket it is noticed by reading only."""
        sock = self.socket()
        if sock is not None:
            disconnects.add(sock.fileno(), Interest.DISCONNECT, callback)

    def unwatch_disconnect(self, disconnects: Poller) -> None:
        """End what `watch_disconnect` began."""
        sock = self.socket()
        if sock is not None:
            disconnects.remove(sock.fileno())


class SocketTransport(Transport):
    """A plain TCP or Unix socket, taken out of its `trio.SocketStream`, which is an empty shell from then on."""

    __slots__ = ("_budget", "_socket")

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__()
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)
        self._budget = FairnessBudget()

    def socket(self) -> socket.socket:
        return self._socket

    def try_receive(self, size: int) -> bytes | None:
        if self._budget.left <= 0:
            return None  # `receive` will have the others run
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        self._budget.left -= 1
        return data

    async def receive(self, size: int) -> bytes:
        while True:
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except trio.ClosedResourceError:  # `interrupt_read`
                self._budget.refill()
                return self.try_receive(size) or b""
            self._budget.refill()
            data = self.try_receive(size)
            if data is not None:
                return data

    def interrupt_read(self) -> None:
        trio.lowlevel.notify_closing(self._socket)

    def try_send_fair(self, data: bytes) -> bytes | memoryview:
        if self._budget.left <= 0:
            return data
        self._budget.left -= 1
        return self.try_send(data)

    def try_send(self, data: bytes) -> bytes | memoryview:
        if self.broken:
            return data  # for `send` to say so
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            return data
        except OSError:
            self.broken = True
            return data
        if sent == len(data):
            return b""
        self._budget.refill()  # `send` must not be cancelled before it has tried
        return memoryview(data)[sent:]

    async def send(self, pieces: Pieces, stall: float) -> None:
        if self.broken:
            raise trio.BrokenResourceError("an earlier write was cut short")
        if self._budget.left <= 0:
            await self._budget.yield_and_refill()
        self._budget.left -= 1
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
            await self._send_rest(memoryview(b"".join(pieces))[sent:], stall)

    async def _send_rest(self, data: memoryview, stall: float) -> None:
        self.broken = True  # unless we get to the end
        pace, sock = self._pace_within(stall), self._socket
        pace.begin()
        while data:
            sent = 0
            with trio.move_on_after(pace.step) as timeout:
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
            pace.look(lambda: unacknowledged(sock.fileno()), sent)
            if data and pace.exhausted:
                raise WriteTimeout
        self.broken = False

    def send_eof(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.broken = True

    async def close(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()


class StreamTransport(Transport):
    """Any trio stream: TLS in the product, memory streams in tests."""

    __slots__ = ("_reading", "_stream", "secure")

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__()
        self._stream = stream
        self._reading: trio.CancelScope | None = None
        self.secure = isinstance(stream, trio.SSLStream)

    def socket(self) -> trio.socket.SocketType | None:
        below = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        return below.socket if isinstance(below, trio.SocketStream) else None

    def try_receive(self, size: int) -> bytes | None:  # noqa: ARG002  # a stream cannot be asked without waiting
        return None

    async def receive(self, size: int) -> bytes:
        with trio.CancelScope() as self._reading:
            try:
                return bytes(await self._stream.receive_some(size))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        return b""

    def interrupt_read(self) -> None:
        if self._reading is not None:
            self._reading.cancel()

    async def send(self, pieces: Pieces, stall: float) -> None:
        if self.broken:
            raise trio.BrokenResourceError("an earlier write was cut short")
        self.broken = True  # unless we get to the end
        data = memoryview(b"".join(pieces))
        pace, sock = self._pace_within(stall), self.socket()
        while data:
            # A stream cannot say how far it got, so progress is counted in steps of this size.
            step, data = data[:COALESCE_BELOW], data[COALESCE_BELOW:]
            pace.begin()
            if sock is not None and unacknowledged(sock.fileno()) > COALESCE_BELOW:
                await self._send_watched(step, pace, sock.fileno())
            else:
                with trio.move_on_after(pace.left) as timeout:
                    await self._stream.send_all(step)
                if timeout.cancelled_caught:
                    raise WriteTimeout
            pace.moved(len(step))
        self.broken = False

    async def _send_watched(self, step: memoryview, pace: Pace, fd: int) -> None:
        """Send a step for as long as the client takes some of what was sent before it."""
        failed: Exception = WriteTimeout()
        done = False

        async def deadlines() -> None:
            while not pace.exhausted:
                await trio.sleep(pace.step)
                pace.look(lambda: unacknowledged(fd))
            sending.cancel_scope.cancel()

        async with trio.open_nursery() as sending:
            sending.start_soon(deadlines)
            try:
                await self._stream.send_all(step)
                done = True
            except trio.BrokenResourceError as error:  # raised outside the nursery, which would wrap it in a group
                failed = error
            sending.cancel_scope.cancel()
        if not done:
            raise failed

    def send_eof(self) -> None:
        """Nothing: TLS has no half-close that trio offers, and the answer says where it ends."""

    async def close(self) -> None:
        if self.broken:
            await trio.aclose_forcefully(self._stream)
            return
        with trio.move_on_after(CLOSE_NOTIFY):
            with suppress(trio.BrokenResourceError, ssl.SSLError):
                await self._stream.aclose()


def transport_for(stream: trio.abc.Stream) -> Transport:
    """The fastest wire for a stream."""
    return SocketTransport(stream) if isinstance(stream, trio.SocketStream) else StreamTransport(stream)
