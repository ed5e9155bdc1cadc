"""The bytes of an answer on their way to the parent, in frames of bounded size."""

from __future__ import annotations

import msgspec

from lakehouse.process.calls.rpc_child import Call
from lakehouse.services.engines.query_messages import QueryEnd, QueryHeader, QueryWhole

FRAME = 256 * 1024
"""Bytes that are collected before they are sent, and at most in one frame."""


class Output:
    """A writable file whose bytes become the items of a call, behind the columns.

    `write` blocks while the parent does not read. An answer of which nothing was sent before its end is one message.
    """

    def __init__(self, call: Call, columns: tuple[tuple[str, str], ...]) -> None:
        self._call = call
        self._columns = columns
        self.begun = False
        """Whether anything was sent."""
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes. Raises CallCancelled."""
        size = len(data)
        if size >= FRAME:
            self.flush()
            self._begin()
            view = memoryview(data).cast("B")
            for start in range(0, size, FRAME):
                self._call.send(bytes(view[start : start + FRAME]))
        elif size:
            self._parts.append(bytes(data))
            self._size += size
            if self._size >= FRAME:
                self.flush()
        return size

    def flush(self) -> None:
        """Send what was collected. Raises CallCancelled."""
        if self._parts:
            self._begin()
            self._call.send(self._collect())

    def end(self, end: QueryEnd) -> bytes:
        """Return the result of the call."""
        if not self.begun:
            return msgspec.msgpack.encode(QueryWhole(columns=self._columns, data=self._collect(), end=end))
        self.flush()
        return msgspec.msgpack.encode(end)

    def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            self._call.send(msgspec.msgpack.encode(QueryHeader(columns=self._columns)))

    def _collect(self) -> bytes:
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return data
