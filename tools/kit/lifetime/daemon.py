"""A service behind the gateway that does what the path says, and notices at once when it is left.

/silent/TAG     never answers
/endless/TAG    a piece every millisecond, for ever
/flood/TAG      as much as is taken, for ever
/deaf/TAG       reads no body and never answers
/socket/TAG     a WebSocket that is never closed
/ok/TAG         reads the body and answers "ok"
/manifest/TAG   never answers, as `silent`
/context        reads the body and answers with one passage
"""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio

from tools.kit.faults.recorded_requests import RecordedRequest, RecordedRequests

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PASSAGE = b'{"passages":[{"n":1,"corpus":"birds","id":"heron","text":"A heron stands.","distance":0.5}]}'
CONTEXT = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(PASSAGE), PASSAGE)
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class ClientLeft(Exception):
    """The gateway ended the connection."""


class Daemon:
    """Made by `open_daemon`. `requests` are known by the path without its first slash; `open` counts connections."""

    def __init__(self) -> None:
        self.requests = RecordedRequests()
        self.open = 0
        self.url = ""
        self.written = 0
        """Pieces that were taken of floods."""

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection."""
        self.open += 1
        try:
            async with stream:
                await self._serve_requests(stream)
        except (ClientLeft, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1

    async def _serve_requests(self, stream: trio.SocketStream) -> None:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                buffer += await _some(stream)
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            key = head.split(b" ")[1].decode().lstrip("/").partition("/")[2]  # the gateway leaves its group in front
            visit = RecordedRequest(key, "http", streams=False, at=trio.current_time())
            self.requests.add(visit)
            try:
                buffer = await self._answer(key.partition("/")[0], stream, head, buffer)
            except (ClientLeft, trio.BrokenResourceError):
                visit.client_left = trio.current_time()
                raise

    async def _answer(self, what: str, stream: trio.SocketStream, head: bytes, buffer: bytes) -> bytes:
        if what in ("ok", "context"):
            buffer = await _body(stream, head, buffer)
            await stream.send_all(OK if what == "ok" else CONTEXT)
            return buffer
        async with trio.open_nursery() as nursery:

            async def deadlines() -> None:
                with suppress(ClientLeft):
                    while what != "deaf":
                        await _some(stream)
                    await _hang_up(stream)
                nursery.cancel_scope.cancel()

            nursery.start_soon(deadlines)
            await self._speak(what, stream, head)
            await trio.sleep_forever()
        raise ClientLeft

    async def _speak(self, what: str, stream: trio.SocketStream, head: bytes) -> None:
        if what == "socket":
            key = head.lower().partition(b"sec-websocket-key:")[0]
            value = head[len(key) :].partition(b":")[2].partition(b"\r\n")[0].strip()
            accept = base64.b64encode(hashlib.sha1(value + GUID, usedforsecurity=False).digest())
            lines = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
            await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\n" + lines + b"\r\n\r\n")
        elif what in ("endless", "flood"):
            piece = b"x" * (10 if what == "endless" else 60_000)
            try:
                await stream.send_all(CHUNKS)
                while True:
                    await stream.send_all(b"%x\r\n%b\r\n" % (len(piece), piece))
                    self.written += 1
                    await trio.sleep(0.001 if what == "endless" else 0)
            except trio.BrokenResourceError:
                pass  # whoever watches knows


async def _some(stream: trio.SocketStream) -> bytes:
    try:
        data = await stream.receive_some(65536)
    except trio.BrokenResourceError:
        data = b""
    if not data:
        raise ClientLeft
    return bytes(data)


async def _hang_up(stream: trio.SocketStream) -> None:
    """Wait for the end of a connection whose data nobody reads: a FIN behind it can only be asked for."""
    while stream.socket.getsockopt(trio.socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED:
        await trio.sleep(0.0002)
    raise ClientLeft


ESTABLISHED = 1
"""The state of a connection in the first byte of Linux's TCP_INFO."""


async def _body(stream: trio.SocketStream, head: bytes, buffer: bytes) -> bytes:
    lower = head.lower()
    if b"transfer-encoding" in lower:
        while b"0\r\n\r\n" not in buffer:
            buffer += await _some(stream)
        return buffer.partition(b"0\r\n\r\n")[2]
    size = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
    while len(buffer) < size:
        buffer += await _some(stream)
    return buffer[size:]


@asynccontextmanager
async def open_daemon() -> AsyncIterator[Daemon]:
    """Run it for the block, on a free port."""
    state = Daemon()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, state.serve, 0, host="127.0.0.1"))
        state.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield state
        nursery.cancel_scope.cancel()
