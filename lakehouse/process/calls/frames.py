"""Frames over a pipe: a length, a kind, the number of the call, and so many bytes. Pure, for both sides.

    parent ──> REQUEST(call, bytes)   CANCEL(call)
    child  ──> ITEM(call, bytes) …, then one of RESULT(call, bytes), FAILURE(call, JSON), CANCELLED(call)

One call at a time is under way. A child answers each request with exactly one of the three last kinds, a cancelled one
too; CANCEL for a call that has ended is ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import msgspec

HEADER = struct.Struct(">IBI")
MAX_FRAME = 64 * 1024 * 1024
"""Bytes of one frame's payload, unless a pool says otherwise."""


class FrameError(Exception):
    """The bytes on a pipe are no frames, or one is larger than allowed."""


class FrameKind(IntEnum):
    """What a frame means."""

    REQUEST = 1
    CANCEL = 2
    ITEM = 3
    RESULT = 4
    FAILURE = 5
    CANCELLED = 6


FINAL = frozenset({FrameKind.RESULT, FrameKind.FAILURE, FrameKind.CANCELLED})
"""The kinds that end a call."""


class Frame(NamedTuple):
    """One frame."""

    kind: FrameKind
    call: int
    payload: bytes


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of FAILURE. With `replace` the child is not to be used again."""

    kind: str
    message: str
    details: msgspec.Raw = msgspec.Raw(b"null")
    replace: bool = False


def encode_header(kind: FrameKind, call: int, size: int) -> bytes:
    """What stands before a payload of `size` bytes."""
    return HEADER.pack(size, kind, call)


class FrameDecoder:
    """Cuts a stream of bytes into frames; any split of the bytes gives the same frames.

    It holds at most one frame besides what was fed last.
    """

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. Raises FrameError, after which the stream cannot be used."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= HEADER.size:
            size, number, call = HEADER.unpack_from(buffer, start)
            try:
                kind = FrameKind(number)
            except ValueError:
                raise FrameError(
                    f"the pipe has {bytes(buffer[start : start + 40])!r} where a frame should begin"
                ) from None
            if size > self._max_frame:
                raise FrameError(f"a frame of {size} bytes is larger than the {self._max_frame} that are allowed")
            end = start + HEADER.size + size
            if len(buffer) < end:
                break
            yield Frame(kind, call, bytes(memoryview(buffer)[start + HEADER.size : end]))
            start = end
        del buffer[:start]
