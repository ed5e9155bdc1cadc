"""A listener on a real socket, and clients that send arbitrary bytes."""

from __future__ import annotations

import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.context import RequestContext
from lakehouse.server.connection import serve_connection
from lakehouse.server.limits import ServerLimits
from lakehouse.server.server_state import ServerState, open_server_state
from tools.kit.http_stream import HttpStream
from tools.kit.hypercorn_server import open_hypercorn

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def get(path: str, *headers: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{''.join(line + chr(13) + chr(10) for line in headers)}\r\n".encode()


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = "".join(line + "\r\n" for line in headers)
    size = len(body) if length is None else length
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n{lines}\r\n".encode() + body


def websocket(path: str = "/ws", *headers: str, key: str = "dGhlIHNhbXBsZSBub25jZQ==") -> bytes:
    fields = ("Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
    return get(path, *fields, *headers)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """A client's WebSocket frame; its mask is zero, so the payload is as it is."""
    size = len(payload)
    mask = 0x80 if masked else 0
    if size < 126:
        length = bytes([mask | size])
    elif size <= 0xFFFF:
        length = bytes([mask | 126]) + struct.pack(">H", size)
    else:
        length = bytes([mask | 127]) + struct.pack(">Q", size)
    return bytes([opcode | (0x80 if fin else 0)]) + length + (bytes(4) if masked else b"") + payload


TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0


@dataclass
class RunningServer:
    """A listener, its port, and the contexts of the requests that have ended, if the lifetime middleware runs."""

    state: ServerState | None
    port: int
    lifetime: RequestLifetimeMiddleware | None = None
    active_requests: ActiveRequests = field(default_factory=ActiveRequests)
    ended: list[RequestContext] = field(default_factory=list)

    @property
    def server_state(self) -> ServerState:
        """The state of our own server; Hypercorn has none."""
        assert self.state is not None
        return self.state

    async def connect(self) -> Client:
        return Client(await trio.open_tcp_stream("127.0.0.1", self.port))

    def drain(self) -> None:
        """What the end of a drain's time does."""
        assert self.lifetime is not None
        self.lifetime.drain()

    async def exchange(self, *parts: bytes, seconds: float = 1.0) -> bytes:
        """Send the parts, each when the one before has been taken, and read to the end, or as long as that is."""
        async with await self.connect() as client:
            for part in parts:
                await client.send(part)
            return await client.read_all(seconds)


class Client(HttpStream):
    """One connection of a client's."""

    async def send(self, data: bytes) -> None:
        """Send, as far as the server takes it."""
        with suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def read_all(self, seconds: float = 1.0) -> bytes:
        """Everything until the connection ends (marked <EOF>) or breaks (<RST>), or until the time is over."""
        out, self._buffer = self._buffer, b""
        with trio.move_on_after(seconds):
            try:
                while data := await self.stream.receive_some(65536):
                    out += data
            except trio.BrokenResourceError:
                return out + b"<RST>"
            return out + b"<EOF>"
        return out

    async def read_until(self, mark: bytes) -> bytes:
        """Everything up to and with the mark, within 5 seconds."""
        with trio.fail_after(5):
            return await self.until(mark)

    async def response(self) -> tuple[int, bytes]:
        """One response with a Content-Length: its status and body."""
        with trio.fail_after(5):
            start, headers = await self.head()
            return int(start[9:12]), await self.exactly(int(dict(headers)[b"content-length"]))


@asynccontextmanager
async def serve_app(
    app: App, limits: ServerLimits | None = None, *, lifetime: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RunningServer]:
    """The application behind a listener on a port of its own, for the length of the block."""
    ended: list[RequestContext] = []
    active_requests = ActiveRequests()
    line = RequestLifetimeMiddleware(app, active_requests=active_requests, on_end=ended.append) if lifetime else None
    async with open_server_state(line or app, limits) as server_state, trio.open_nursery() as nursery:
        handler = partial(serve_connection, server_state)
        if tls is None:
            serve: Any = partial(trio.serve_tcp, handler, 0, host="127.0.0.1")
        else:
            serve = partial(trio.serve_ssl_over_tcp, handler, 0, tls, host="127.0.0.1", https_compatible=True)
        listeners = await nursery.start(serve)
        below = listeners[0].transport_listener if tls else listeners[0]
        yield RunningServer(server_state, below.socket.getsockname()[1], line, active_requests, ended)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def serve_app_under_hypercorn(app: App) -> AsyncIterator[RunningServer]:
    """The application and its lifetime middleware under stock Hypercorn's trio worker, for the length of the block."""
    ended: list[RequestContext] = []
    active_requests = ActiveRequests()
    line = RequestLifetimeMiddleware(app, active_requests=active_requests, on_end=ended.append)
    async with open_hypercorn(line, keep_alive_timeout=0.3, graceful_timeout=0.3) as url:
        yield RunningServer(None, int(url.rpartition(":")[2]), line, active_requests, ended)


async def read_whole_body(receive: Receive) -> bytes:
    """The whole body of a request."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def send_response(
    send: Send, body: bytes, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """A whole response."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that says hello."""
    await send_response(send, b"hello")
