"""A file as the body of an upload: `multipart/form-data` with one part, sent as it is read."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import trio

from lakehouse.cli.lake.folders import STDIN

PIECE = 1 << 20
"""Bytes that are read from the file at a time."""


class FileUpload:
    """The body of an upload, as `Upstream` sends it (`RequestBody`).

    `size` is the size of the file, None if that is not known (a pipe). `on_progress` is called with the number of bytes
    of the file that have been taken so far.
    """

    def __init__(
        self, file: BinaryIO, file_name: str, size: int | None, on_progress: Callable[[int], object] = lambda _: None
    ) -> None:
        self.boundary = secrets.token_hex(16)
        self._file = file
        self._head = (
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quote(file_name)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._end = f"\r\n--{self.boundary}--\r\n".encode()
        self._left = size
        self._sent = 0
        self._on_progress = on_progress
        self.length = None if size is None else len(self._head) + size + len(self._end)

    @property
    def content_type(self) -> bytes:
        """The value of the `Content-Type` header."""
        return f"multipart/form-data; boundary={self.boundary}".encode()

    async def receive(self) -> bytes:
        """The next piece, b"" at the end."""
        if self._head:
            head, self._head = self._head, b""
            return head
        piece = await self._read()
        if piece:
            self._sent += len(piece)
            self._on_progress(self._sent)
            return piece
        end, self._end = self._end, b""
        return end

    async def _read(self) -> bytes:
        """Read from the file. Of a file that grows no more than its size is sent; one that shrinks is an OSError."""
        limit = PIECE if self._left is None else min(PIECE, self._left)
        if limit == 0:
            return b""
        # A pipe may never deliver: the thread is left to itself if the command is interrupted meanwhile.
        piece = await trio.to_thread.run_sync(self._file.read, limit, abandon_on_cancel=True)
        if self._left is not None:
            self._left -= len(piece)
            if not piece:
                raise OSError(f"the file has become shorter: {self._left} bytes are missing")
        return piece


def _quote(file_name: str) -> str:
    """A file name as browsers put it into a part's head (the HTML standard, multipart/form-data)."""
    return file_name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


@contextmanager
def open_file(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file, and its size if it has one."""
    if name == STDIN:
        yield sys.stdin.buffer, None
        return
    with Path(name).open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        yield file, status.st_size if stat.S_ISREG(status.st_mode) else None
