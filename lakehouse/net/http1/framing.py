"""How the end of a message's body is marked (RFC 9112, 6.3), for requests and responses alike."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal

import msgspec


class Length(msgspec.Struct, frozen=True):
    """The body has exactly `size` bytes, which the head declares (`Content-Length`)."""

    size: int


class Delimiter(Enum):
    """The framings without a declared size."""

    NO_BODY = "no body"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


NO_BODY: Final = Delimiter.NO_BODY
"""The message ends with its head: a GET, a 204 or 304, the answer to a HEAD request."""

CHUNKED: Final = Delimiter.CHUNKED
"""The body ends with a chunk of size zero (`Transfer-Encoding: chunked`)."""

UNTIL_CLOSE: Final = Delimiter.UNTIL_CLOSE
"""The body ends with the connection. Responses only."""

Framing = Length | Delimiter
RequestFraming = Length | Literal[Delimiter.NO_BODY, Delimiter.CHUNKED]

LAST_CHUNK = b"0\r\n\r\n"
"""The end of a chunked body without trailers."""


def encode_chunk(data: bytes) -> bytes:
    """One chunk, in one buffer. `data` must not be empty: an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunk_pieces(data: bytes) -> tuple[bytes, bytes, bytes]:
    """`encode_chunk` without copying `data`, for a vectored write."""
    return b"%x\r\n" % len(data), data, b"\r\n"
