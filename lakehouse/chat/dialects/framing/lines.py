"""Lines out of bytes that arrive in arbitrary pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from lakehouse.chat.dialects.base import MAX_LINE

BOM = b"\xef\xbb\xbf"


class LineTooLong(ValueError):
    """Raised for a line or an event beyond its limit."""


class Event(NamedTuple):
    """One event of a stream: its data, and its name if the framing has names."""

    data: bytes
    name: bytes = b""


class Framing(Protocol):
    """Splits a stream into events, lazily: the events before a line beyond the limit are yielded, then `LineTooLong` is
    raised.

    The iterator of `feed` must be exhausted before the next call.
    """

    @property
    def at_event_start(self) -> bool:
        """True if no bytes are kept, so that the next byte begins an event."""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that these bytes complete."""

    def end(self) -> Iterator[Event]:
        """Yield the event that the end of the stream left unterminated, if there is one."""


class LineSplitter:
    """Splits at LF, removes one CR before it, and drops a byte order mark at the beginning of the stream.

    No other line ends: U+2028, U+0085 and whatever else `str.splitlines` splits at are legal inside JSON strings.
    """

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._at_start = True  # of the stream

    @property
    def at_line_start(self) -> bool:
        """True if the next byte begins a line other than the first of the stream."""
        return not self._rest and not self._at_start

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that these bytes complete, without their ends. At most `limit` bytes of an open line are
        kept."""
        *ended, open_line = data.split(b"\n")
        if ended and (self._rest or self._at_start):
            self._keep(ended[0])
            ended[0] = self._take()
        for line in ended:
            if len(line) > self._limit:
                raise LineTooLong
            yield line.removesuffix(b"\r")
        if open_line:
            self._keep(open_line)

    def _keep(self, data: bytes) -> None:
        if len(self._rest) + len(data) > self._limit:
            raise LineTooLong
        self._rest += data

    def _take(self) -> bytes:
        line = bytes(self._rest)
        self._rest.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(BOM)
        return line
