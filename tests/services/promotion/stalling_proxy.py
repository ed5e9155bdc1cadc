"""A proxy before an object store that stops at a chosen moment: what is under way then waits for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import trio

PIECE = 65_536
WRITE = b"PUT /"


class StallingProxy:
    """Passes on bytes until `writes` objects have been sent and answered: `stalled` is set. Further ones are held."""

    def __init__(self, target: str, writes: int) -> None:
        self.stalled = trio.Event()
        self.endpoint = ""
        self._target = urlsplit(target)
        self._begun = self._unanswered = writes

    async def serve(self, client: trio.SocketStream) -> None:
        """Pass on one connection, on which one request follows the answer to the other."""
        server = await trio.open_tcp_stream(self._target.hostname or "", self._target.port or 0)
        waiting: list[bytes] = []  # the write on this connection that has no answer yet
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass_answers, server, client, waiting)
            with suppress(trio.BrokenResourceError):
                while data := await client.receive_some(PIECE):
                    if data.startswith(WRITE):
                        if not self._begun:
                            await trio.sleep_forever()
                        self._begun -= 1
                        waiting.append(WRITE)
                    await server.send_all(data)
            nursery.cancel_scope.cancel()

    async def _pass_answers(self, server: trio.SocketStream, client: trio.SocketStream, waiting: list[bytes]) -> None:
        with suppress(trio.BrokenResourceError):
            while data := await server.receive_some(PIECE):
                await client.send_all(data)
                if waiting:
                    waiting.clear()
                    self._unanswered -= 1
                    if not self._unanswered:
                        self.stalled.set()


@asynccontextmanager
async def open_stalling_proxy(target: str, writes: int) -> AsyncIterator[StallingProxy]:
    """Run a proxy for the length of the block, before a server at the URL `target`."""
    proxy = StallingProxy(target, writes)
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1"))
        proxy.endpoint = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield proxy
        nursery.cancel_scope.cancel()
