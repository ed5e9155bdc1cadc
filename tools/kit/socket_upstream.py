"""A raw upstream for the tests: a real socket, and a script that decides every byte."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

from tools.kit.http_stream import HttpStream

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"


class RawConnection(HttpStream):
    """The upstream's end of one connection; `number` is 0 for the first that was accepted, and so on."""

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        super().__init__(stream)
        self.number = number

    async def receive(self, limit: int = 1 << 20) -> bytes:
        """What has come, as it came, up to the limit; b"" at the end."""
        data = await self.some()
        self._buffer = data[limit:]
        return data[:limit]

    async def read_head(self) -> bytes:
        """A request's head as it came. Raises EOFError if the client leaves instead."""
        return await self.until(b"\r\n\r\n")

    async def reset(self) -> None:
        """Break the connection: the client gets a reset, not an end."""
        self.leave("rst")
        await trio.aclose_forcefully(self.stream)


Script = Callable[[RawConnection], Awaitable[None]]


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
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            async with stream:
                if tls is None:
                    await script(RawConnection(stream, number))
                else:
                    await script(
                        RawConnection(trio.SSLStream(stream, tls, server_side=True, https_compatible=True), number)
                    )

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host=host))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def hello(wire: RawConnection) -> None:
    """Answer every request (without a body) with HELLO."""
    while True:
        await wire.read_head()
        await wire.send(HELLO)
