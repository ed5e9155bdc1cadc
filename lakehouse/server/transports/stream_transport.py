"""A client connection over any trio stream: TLS in production, memory streams in tests."""

from __future__ import annotations

import ssl
from contextlib import suppress

import trio

from lakehouse.net.transfer_rate import MinimumRate, unacknowledged_bytes
from lakehouse.server.transports.transport import COALESCE_BELOW, ConnectionTransport, Pieces, WriteTimeout

CLOSE_NOTIFY_TIMEOUT = 1.0
"""Seconds for TLS's close notification; the client needs it only to distinguish the end of a body without a length
from a cut."""


class StreamTransport(ConnectionTransport):
    """Any trio stream. It cannot be tried, so `try_read` and `try_write` do nothing."""

    __slots__ = ("_reading", "_stream", "secure")

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__()
        self._stream = stream
        self._reading: trio.CancelScope | None = None
        self.secure = isinstance(stream, trio.SSLStream)

    def socket(self) -> trio.socket.SocketType | None:
        """The socket under TLS; None for any other stream."""
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        return stream.socket if isinstance(stream, trio.SocketStream) else None

    def try_read(self, size: int) -> bytes | None:  # noqa: ARG002
        """Implements `ConnectionTransport`."""
        return None

    async def read(self, size: int) -> bytes:
        """Implements `ConnectionTransport`."""
        with trio.CancelScope() as self._reading:
            try:
                return bytes(await self._stream.receive_some(size))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        return b""

    def interrupt_read(self) -> None:
        """Implements `ConnectionTransport`."""
        if self._reading is not None:
            self._reading.cancel()

    async def write(self, pieces: Pieces, stall: float) -> None:
        """Implements `ConnectionTransport`."""
        if self.broken:
            raise trio.BrokenResourceError("an earlier write was cut short")
        self.broken = True  # until all is written
        data = memoryview(b"".join(pieces))
        rate, sock = self._minimum_rate(stall), self.socket()
        while data:
            # A stream does not report partial progress, so it is measured in steps of this size.
            step, data = data[:COALESCE_BELOW], data[COALESCE_BELOW:]
            rate.start_waiting()
            if sock is not None and unacknowledged_bytes(sock.fileno()) > COALESCE_BELOW:
                await self._write_watched(step, rate, sock.fileno())
            else:
                with trio.move_on_after(rate.left) as timeout:
                    await self._stream.send_all(step)
                if timeout.cancelled_caught:
                    raise WriteTimeout
            rate.record_progress(len(step))
        self.broken = False

    async def _write_watched(self, step: memoryview, rate: MinimumRate, fd: int) -> None:
        """Write a step for as long as the client takes some of the bytes that were written before it."""
        failure: Exception = WriteTimeout()
        done = False

        async def watch_progress() -> None:
            while not rate.exhausted:
                await trio.sleep(rate.step)
                rate.check_progress(lambda: unacknowledged_bytes(fd))
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_progress)
            try:
                await self._stream.send_all(step)
                done = True
            except trio.BrokenResourceError as error:  # raised outside the nursery, which would wrap it in a group
                failure = error
            nursery.cancel_scope.cancel()
        if not done:
            raise failure

    def send_eof(self) -> None:
        """Do nothing: trio offers no half-close of TLS, and the response shows its own end."""

    async def close(self) -> None:
        """Implements `ConnectionTransport`. TLS's close notification is sent unless the transport is broken."""
        if self.broken:
            await trio.aclose_forcefully(self._stream)
            return
        with trio.move_on_after(CLOSE_NOTIFY_TIMEOUT):
            with suppress(trio.BrokenResourceError, ssl.SSLError):
                await self._stream.aclose()
