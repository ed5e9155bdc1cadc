"""Responses with content that is read piece by piece: files, with ranges and conditional requests, and streams.

Nothing is read ahead: the next piece is read when the server has taken the one before, so a slow client holds one piece
in memory.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, Sequence
from pathlib import Path
from typing import Protocol

from lakehouse.asgi.conditional import Validators, allows_range, is_not_modified
from lakehouse.asgi.file_content import FileContent, open_file_content
from lakehouse.asgi.file_handover import ACCEPT_FILE, FILE_PART, MIN_SIZE, FilePart
from lakehouse.asgi.ranges import ByteRange, parse_ranges
from lakehouse.asgi.types import HeaderPairs, Scope, Send

PIECE = 64 * 1024
"""Bytes that are read and sent at once."""


class ContentTruncated(OSError):
    """Content that became shorter while it was sent. The response is cut, so that it does not look complete."""


class Content(Protocol):
    """Content of known size that can be read at any position."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def validators(self) -> Validators:
        """What identifies this version of the content."""

    async def read_at(self, position: int, size: int) -> bytes | memoryview:
        """Read at most `size` bytes from `position`, valid until the next call; empty only at the end."""


class BytesContent:
    """Content that is in memory."""

    def __init__(self, data: bytes, validators: Validators | None = None) -> None:
        self._data = data
        self.size = len(data)
        self.validators = validators or Validators()

    async def read_at(self, position: int, size: int) -> bytes:
        """Read at most `size` bytes from `position`."""
        return self._data[position : position + size]


async def send_file(
    scope: Scope,
    send: Send,
    path: Path | str,
    *,
    content_type: str = "application/octet-stream",
    etag: bytes | None = None,
    headers: HeaderPairs = (),
) -> None:
    """Answer GET or HEAD with a file; see `send_content` and `open_file_content`."""
    async with open_file_content(path, etag=etag) as content:
        await send_content(scope, send, content, content_type=content_type, headers=headers)


async def send_content(
    scope: Scope,
    send: Send,
    content: Content,
    *,
    content_type: str,
    headers: HeaderPairs = (),
    piece_size: int = PIECE,
) -> None:
    """Answer GET or HEAD with content: 200, 206 for a `Range`, or 304 when the client has this version.

    `piece_size` is how many bytes are read and sent at once. Several ranges are sent as `multipart/byteranges`. Raises
    `ErrPreconditionFailed` and `ErrRangeNotSatisfiable` before anything is sent, and `ContentTruncated` when the
    content ends before its `size`. A large part of a file with a `path` is handed over to a gateway that offers to send
    it (`file_handover`).
    """
    sent: Sequence[tuple[bytes, bytes]] = scope["headers"]
    validators = content.validators
    common = [(b"accept-ranges", b"bytes"), *validators.headers(), *headers]
    if is_not_modified(scope["method"], sent, validators):
        await send({"type": "http.response.start", "status": 304, "headers": common})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    kind = content_type.encode("latin-1")
    parts: list[bytes | ByteRange] = [ByteRange(0, content.size)]
    status = 200
    if (ranges := _ranges(scope["method"], sent, content)) is not None:
        status = 206
        if len(ranges) == 1:
            parts = [ranges[0]]
            common.append((b"content-range", ranges[0].content_range(content.size)))
        else:
            parts, kind = _multipart(ranges, content.size, kind)
    if (file_part := _file_part(scope, content, parts)) is not None:
        common.append((FILE_PART, file_part.encode()))
        parts = []
    length = sum(len(part) if isinstance(part, bytes) else part.stop - part.start for part in parts)
    fields = [(b"content-type", kind), (b"content-length", b"%d" % length), *common]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if scope["method"] != "HEAD":
        for part in parts:
            await send_part(send, content, part, piece_size)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _ranges(method: str, headers: Sequence[tuple[bytes, bytes]], content: Content) -> list[ByteRange] | None:
    """The ranges to send, None for the whole content."""
    wanted = [value for name, value in headers if name == b"range"]
    if method != "GET" or len(wanted) != 1 or not allows_range(headers, content.validators):
        return None
    return parse_ranges(wanted[0], content.size)


def _file_part(scope: Scope, content: Content, parts: list[bytes | ByteRange]) -> FilePart | None:
    """What the gateway sends itself, if it has offered to (`file_handover`); None: the bytes are sent from here."""
    server = scope.get("server")
    if server is None or server[1] is not None:  # not by a Unix socket: by no gateway
        return None
    if not isinstance(content, FileContent) or not content.path or scope["method"] != "GET" or len(parts) != 1:
        return None
    part = parts[0]
    if isinstance(part, bytes) or part.stop - part.start < MIN_SIZE:
        return None
    if not any(name == ACCEPT_FILE for name, _ in scope["headers"]):
        return None
    return FilePart(content.path, part.start, part.stop)


def _multipart(ranges: list[ByteRange], size: int, content_type: bytes) -> tuple[list[bytes | ByteRange], bytes]:
    """The parts of a `multipart/byteranges` body (RFC 9110, 14.6), and its media type."""
    boundary = secrets.token_hex(16).encode()
    parts: list[bytes | ByteRange] = []
    for one in ranges:
        head = (boundary, content_type, one.content_range(size))
        parts.append(b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % head)
        parts.append(one)
    parts.append(b"\r\n--%b--\r\n" % boundary)
    return parts, b"multipart/byteranges; boundary=" + boundary


async def send_part(send: Send, content: Content, part: bytes | ByteRange, piece_size: int) -> None:
    """Send a part of a body that has begun: bytes, or a range of the content. Raises ContentTruncated."""
    if isinstance(part, bytes):
        await send({"type": "http.response.body", "body": part, "more_body": True})
        return
    position, stop = part
    while position < stop:
        data = await content.read_at(position, min(piece_size, stop - position))
        if not data:
            raise ContentTruncated(f"the content ended at {position} of {stop} bytes while it was sent")
        position += len(data)
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def send_stream(
    send: Send,
    pieces: AsyncIterable[bytes],
    *,
    content_type: str,
    status: int = 200,
    headers: HeaderPairs = (),
    length: int | None = None,
) -> None:
    """Send pieces as they come; `length` is their sum in bytes, None where it is not known.

    The head is sent with the first piece, so a failure before it can still become an error response; a failure after it
    cuts the response. An asynchronous generator is the caller's to close.
    """
    fields = [(b"content-type", content_type.encode("latin-1")), *headers]
    if length is not None:
        fields.append((b"content-length", b"%d" % length))
    head = {"type": "http.response.start", "status": status, "headers": fields}
    started = False
    async for piece in pieces:
        if not piece:
            continue
        if not started:
            started = True
            await send(head)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if not started:
        await send(head)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
