"""The bytes of an answer on their way to the parent, in frames of bounded size."""

from __future__ import annotations

from lakehouse.process.calls.rpc_child import Call

FRAME = 256 * 1024
"""Bytes that are collected before they are sent, and at most in one frame."""


class Output:
    """A writable file whose bytes become the items of a call. `write` blocks while the parent does not read."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes. Raises CallCancelled."""
        size = len(data)
        if size >= FRAME:
            self.flush()
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
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._call.send(data)
