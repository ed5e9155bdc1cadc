"""A raw upstream for the tests: a real socket, and a script that decides every byte."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio
import trio.testing

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"


class HttpStream:
    """The upstream's end of one connection."""

    def __init__(self, stream: trio.abc.HalfCloseableStream | trio.SSLStream[trio.SocketStream], number: int) -> None:
        self.stream = stream
        self.number = number
        """0 for the first connection that was accepted, and so on."""
        self._buffer = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self, limit: int = 1 << 20) -> bytes:
        """What has come, as it came, up to the limit; b"" at the end."""
        data = self._buffer or bytes(await self.stream.receive_some())
        self._buffer = data[limit:]
        return data[:limit]

    async def until(self, mark: bytes) -> bytes:
        """Everything up to the mark, mark included."""
        while mark not in self._buffer:
            data = await self.stream.receive_some()
            if not data:
                raise trio.EndOfChannel
            self._buffer += data
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    async def head(self) -> bytes:
        """A request's head; `trio.EndOfChannel` if the client leaves instead."""
        return await self.until(b"\r\n\r\n")

    async def reset(self) -> None:
        """Break the connection: the client gets a reset, not an end."""
        stream = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
        assert isinstance(stream, trio.SocketStream)
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await trio.aclose_forcefully(stream)


Script = Callable[[HttpStream], Awaitable[None]]


@asynccontextmanager
async def open_socket_upstream(
    script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Run the script for every connection to the port, until the block ends. It closes when the script returns."""
    accepted = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal accepted
        number, accepted = accepted, accepted + 1
        # The client may leave whenever it likes: that is what is tested.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel):
            async with stream:
                if tls is None:
                    await script(HttpStream(stream, number))
                else:
                    await script(
                        HttpStream(trio.SSLStream(stream, tls, server_side=True, https_compatible=True), number)
                    )

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host=host))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def hello(wire: HttpStream) -> None:
    """Answer every request (without a body) with HELLO."""
    while True:
        await wire.head()
        await wire.send(HELLO)
