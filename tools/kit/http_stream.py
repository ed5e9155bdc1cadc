"""One end of a connection on which HTTP is spoken by hand: every byte that is sent is the caller's."""

from __future__ import annotations

import socket
import struct
from typing import Self

import trio

Pairs = list[tuple[bytes, bytes]]
"""Headers with lower-case names."""


class HttpStream:
    """One end of a connection, read in HTTP's units. As a context manager it closes the connection at once."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.aclose_forcefully(self.stream)

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below, below TLS if there is any."""
        stream = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
        assert isinstance(stream, trio.SocketStream)
        return stream.socket

    def leave(self, how: str) -> None:
        """End the connection from this side without a further byte: `fin`, `rst`, or `half` (writing alone)."""
        if how == "half":
            self.socket.shutdown(socket.SHUT_WR)
            return
        if how == "rst":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    @property
    def waiting(self) -> bytes:
        """What has come and was not read."""
        return self._buffer

    async def some(self) -> bytes:
        """What has come, or the next that comes; b"" at the end."""
        data, self._buffer = self._buffer, b""
        return data or bytes(await self.stream.receive_some(65536))

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and with the mark. Raises EOFError at the end of the stream."""
        while mark not in self._buffer:
            data = await self.stream.receive_some(65536)
            if not data:
                raise EOFError(self._buffer)
            self._buffer += data
        found, _, self._buffer = self._buffer.partition(mark)
        return found + mark

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = await self.stream.receive_some(65536)
            if not data:
                raise EOFError(self._buffer)
            self._buffer += data
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    async def head(self) -> tuple[bytes, Pairs]:
        """A start line, and headers with lower-case names."""
        start, *lines = (await self.until(b"\r\n\r\n"))[:-4].split(b"\r\n")
        parts = [line.partition(b":") for line in lines]
        return start, [(name.lower(), value.strip()) for name, _, value in parts]

    async def body(self, headers: Pairs, *, until_close: bool = False) -> bytes:
        """The body that these headers announce. Raises EOFError if it breaks off."""
        self.trailers = b""
        fields = dict(headers)
        if fields.get(b"transfer-encoding") == b"chunked":
            assert b"content-length" not in fields, "two lengths"
            chunks = []
            while chunk := await self.chunk():
                chunks.append(chunk)
            return b"".join(chunks)
        if b"content-length" in fields:
            return await self.exactly(int(fields[b"content-length"]))
        if not until_close:
            return b""
        pieces = []
        while data := await self.some():
            pieces.append(data)
        return b"".join(pieces)

    async def chunk(self) -> bytes:
        """The next chunk; b"" after the last, with what followed it in `trailers`."""
        size = int((await self.until(b"\r\n")).split(b";")[0], 16)
        if size:
            return (await self.exactly(size + 2))[:-2]
        self.trailers = b""
        while (line := await self.until(b"\r\n")) != b"\r\n":
            self.trailers += line
        return b""

    trailers = b""

    async def is_over(self) -> bool:
        """Whether the other side has ended the connection, sending nothing more."""
        try:
            return not await self.some()
        except trio.BrokenResourceError:
            return True
