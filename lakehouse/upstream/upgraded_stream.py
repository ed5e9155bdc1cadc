"""A connection after a 101: the bytes on it are no longer HTTP."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import trio

from lakehouse.upstream.connection import READ_WINDOW, UpstreamConnection


class UpgradedStream(trio.abc.HalfCloseableStream):
    """The raw connection as a trio stream. Closing it gives the upstream's slot back.

    One task may send while another receives. There are no time limits: who took it over has a protocol to keep alive.
    """

    def __init__(
        self, connection: UpstreamConnection, leftover: bytes, release: Callable[[UpstreamConnection, bool], None]
    ) -> None:
        connection.shared = True
        self._connection: UpstreamConnection | None = connection
        self._leftover = leftover
        self._release = release

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send it all. Raises `trio.BrokenResourceError`, `trio.ClosedResourceError`."""
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            try:
                view = view[await self._open().send_some(view, inf) :]
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Nothing to wait for: `send_all` waits by itself."""
        await trio.lowlevel.checkpoint()
        self._open()

    async def send_eof(self) -> None:
        """Half-close (plain TCP; TLS cannot). Raises `trio.BrokenResourceError`, `trio.ClosedResourceError`."""
        await trio.lowlevel.checkpoint()
        try:
            self._open().send_eof()
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, at most `max_bytes`; b"" at the end. Raises like `send_all`."""
        await trio.lowlevel.checkpoint()
        connection = self._open()
        if not self._leftover:
            try:
                self._leftover = bytes(await connection.receive() or b"")
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
        size = READ_WINDOW if max_bytes is None else max_bytes
        data, self._leftover = self._leftover[:size], self._leftover[size:]
        return data

    def close(self) -> None:
        """Close at once, without waiting; more than once is harmless."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._release(connection, False)

    async def aclose(self) -> None:
        """`close`, as trio's streams spell it."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _open(self) -> UpstreamConnection:
        if self._connection is None:
            raise trio.ClosedResourceError("this stream was closed")
        return self._connection
