"""A connection after a 101, whose bytes belong to another protocol."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import trio

from lakehouse.upstream.connections.connection import UpstreamConnection
from lakehouse.upstream.connections.socket_io import READ_WINDOW


class UpgradedStream(trio.abc.HalfCloseableStream):
    """The raw connection as a trio stream. Closing it gives the upstream's slot back.

    One task may send while another receives. There are no time limits; the protocol spoken over it has its own.
    """

    def __init__(
        self, connection: UpstreamConnection, leftover: bytes, release: Callable[[UpstreamConnection, bool], None]
    ) -> None:
        connection.share()
        self._connection: UpstreamConnection | None = connection
        self._leftover = leftover
        self._release = release

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`. Raises `trio.BrokenResourceError`, `trio.ClosedResourceError`."""
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            try:
                view = view[await self._open_connection().write(view, inf) :]
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: `send_all` waits by itself."""
        await trio.lowlevel.checkpoint()
        self._open_connection()

    async def send_eof(self) -> None:
        """Half-close (plain TCP; TLS cannot). Raises `trio.BrokenResourceError`, `trio.ClosedResourceError`."""
        await trio.lowlevel.checkpoint()
        try:
            self._open_connection().send_eof()
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, at most `max_bytes`; b"" at the end. Raises like `send_all`."""
        await trio.lowlevel.checkpoint()
        connection = self._open_connection()
        if not self._leftover:
            try:
                self._leftover = bytes(await connection.read() or b"")
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
        size = READ_WINDOW if max_bytes is None else max_bytes
        data, self._leftover = self._leftover[:size], self._leftover[size:]
        return data

    def close(self) -> None:
        """Close at once, without waiting. A closed stream stays closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._release(connection, False)

    async def aclose(self) -> None:
        """`close`, as trio's streams spell it."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _open_connection(self) -> UpstreamConnection:
        if self._connection is None:
            raise trio.ClosedResourceError("the upgraded stream was closed")
        return self._connection
