"""Frames over a pipe: length, kind, number of the call, payload. Pure functions of bytes, for both sides.

    parent ──> REQUEST(call, bytes)   CANCEL(call)
    child  ──> ITEM(call, bytes) …, then one of RESULT(call, bytes), FAILURE(call, JSON), CANCELLED(call)

A call may take further input. The child requests each piece, so none is sent that it does not wait for:

    child  ──> NEED(call)
    parent ──> INPUT(call, bytes)     INPUT_END(call)

One call runs at a time. The child ends each call, a cancelled one as well, with exactly one RESULT, FAILURE or
CANCELLED. A CANCEL for a call that has ended is ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import msgspec

HEADER = struct.Struct(">IBI")
MAX_FRAME = 64 * 1024 * 1024
"""Bytes of the payload of one frame; `PoolPolicy.max_frame` can change it."""


class FrameError(Exception):
    """The bytes on a pipe are not frames, or a frame is too large."""


class FrameKind(IntEnum):
    """The kind of a frame."""

    REQUEST = 1
    CANCEL = 2
    ITEM = 3
    RESULT = 4
    FAILURE = 5
    CANCELLED = 6
    NEED = 7
    INPUT = 8
    INPUT_END = 9


FINAL = frozenset({FrameKind.RESULT, FrameKind.FAILURE, FrameKind.CANCELLED})
"""The kinds that end a call."""


class Frame(NamedTuple):
    """One frame."""

    kind: FrameKind
    call: int
    payload: bytes


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of FAILURE. With `replace` the child must be replaced."""

    kind: str
    message: str
    details: msgspec.Raw = msgspec.Raw(b"null")
    replace: bool = False


def encode_header(kind: FrameKind, call: int, size: int) -> bytes:
    """Encode the header of a frame with a payload of `size` bytes."""
    return HEADER.pack(size, kind, call)


class FrameDecoder:
    """Decodes frames from a stream of bytes, independent of how the stream is split.

    Buffers at most one frame and the last data that was fed.
    """

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes. Raises FrameError, after which the stream cannot be used."""
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
