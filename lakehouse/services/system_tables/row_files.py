"""Files of lines that grow: the rows of a table that are in no segment yet, as the workers have sent them.

What counts is the size that the database has: a process that was killed, or a full disk, may leave more in a file.
Functions block.
"""

from __future__ import annotations

import os
from pathlib import Path

from lakehouse.services.lake.durability import sync_directory

MAX_SIZE = 64 * 1024 * 1024
"""Bytes from which on a file does not grow any more."""


class GrowingFile:
    """A new file. `size` is its durable size; lines behind it are taken back by `cut`, or durable after `settle`."""

    def __init__(self, path: Path) -> None:
        """Create the file, durable at return. Raises OSError."""
        self.path = path
        self.size = 0
        self._written = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            sync_directory(path.parent)
        except OSError:
            self.close()
            raise

    def append(self, lines: bytes | memoryview) -> int:
        """Write lines behind the others, on the disk at return. Returns the size with them. Raises OSError."""
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fdatasync(self._descriptor)
        self._written += len(lines)
        return self._written

    def settle(self) -> None:
        """Keep the lines that were appended: the database has their size."""
        self.size = self._written

    def cut(self) -> None:
        """Remove the lines that were appended since `settle`. Raises OSError."""
        os.ftruncate(self._descriptor, self.size)
        self._written = self.size

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
