"""Lines out of bytes that arrive in any pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from lakehouse.chat.dialects.base import MAX_LINE

BOM = b"\xef\xbb\xbf"


class LineTooLong(ValueError):
    """A line or an event is over its bound."""


class Event(NamedTuple):
    """One message of a stream: its data, and its name where the framing gives names."""

    data: bytes
    name: bytes = b""


class Framing(Protocol):
    """Events out of bytes, lazily: those before a line that is over its bound, then `LineTooLong` instead of keeping
    it.

    What `feed` returns must be exhausted before the next call.
    """

    @property
    def idle(self) -> bool:
        """Whether nothing is kept, so that the next byte begins an event."""

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""

    def end(self) -> Iterator[Event]:
        """At the end of the stream: the event that was not terminated, if there is one."""


class LineSplitter:
    """Splits at LF, takes off one CR before it, and drops a byte order mark at the very beginning.

    Never at anything else: U+2028, U+0085 and other ends of lines for `str.splitlines` are legal inside JSON strings.
    """

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._at_start = True

    @property
    def fresh(self) -> bool:
        """Whether the next byte begins a line, which is not the very first."""
        return not self._rest and not self._at_start

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that these bytes complete, without their ends; at most `limit` bytes of an open line are kept."""
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
