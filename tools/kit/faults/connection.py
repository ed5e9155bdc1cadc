"""One client's connection as the provider sees it: requests in, bytes of our own choice out."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import trio

MAX_HEAD = 64 * 1024


class ClientLeft(Exception):
    """The client ended the connection."""


class Disconnect(Exception):
    """We end the connection: as if nothing were the matter, or with a reset."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request. Names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object, {} if it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class ProviderConnection:
    """Reads requests and writes answers; whatever is written is framed by hand, so that it can be framed badly."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = b""
        self._chunked = False
        self.left: float | None = None
        """When the client was seen leaving, on trio's clock."""

    async def read_request(self) -> ReceivedRequest:
        """The next request. Raises `ClientLeft` when there is none."""
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD:
                raise ClientLeft
            await self._read()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = start.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        size = int(headers.get("content-length", 0))
        while len(self._buffer) < size:
            await self._read()
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return ReceivedRequest(method, target, headers, body)

    async def run_until_client_leaves(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` until it ends or the client leaves. Raises `ClientLeft` then, and the `Disconnect` that `work` raises."""
        end: Disconnect | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_for_close, nursery.cancel_scope)
            try:
                await work()
            except Disconnect as ours:
                end = ours
            except trio.BrokenResourceError:
                self.left = trio.current_time()
            nursery.cancel_scope.cancel()
        if end is not None:
            raise end
        if self.left is not None:
            raise ClientLeft

    async def send_response(
        self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        """A whole answer."""
        await self.send_head(status, {"content-length": str(len(body)), **(headers or {})}, kind)
        await self.send(body)

    async def send_head(self, status: int = 200, headers: Mapping[str, str] | None = None, kind: str = "") -> None:
        """A head; without a length in it, the body is chunked."""
        fields = {"content-type": kind} if kind else {}
        fields |= headers or {}
        self._chunked = not fields.keys() & {"content-length", "connection"}
        if self._chunked:
            fields["transfer-encoding"] = "chunked"
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.send(f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode())

    async def send_chunk(self, data: bytes) -> None:
        """Some of the body that `send_head` announced."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    async def end_body(self) -> None:
        """The end of a chunked body."""
        if self._chunked:
            await self.send(b"0\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """These bytes."""
        await self._stream.send_all(data)

    def reset_at_end(self) -> None:
        """Have the connection end in a reset: the client is told `connection reset by peer`."""
        self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _read(self) -> None:
        try:
            data = await self._stream.receive_some(65536)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            raise ClientLeft
        self._buffer += data

    async def _watch_for_close(self, work: trio.CancelScope) -> None:
        try:
            while True:
                await self._read()
        except ClientLeft:
            self.left = trio.current_time()
            work.cancel()
