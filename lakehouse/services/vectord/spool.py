"""Lines that wait in a temporary file, so that a query can end before a slow model has embedded its rows."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import trio

PIECE = 1024 * 1024
"""Bytes that are written and read at once."""


class Spool:
    """Lines in the order in which they were added. Up to `PIECE` bytes are held in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.count = 0
        """The number of lines."""
        self.size = 0
        """Their bytes."""
        self._file = file
        self._buffer = bytearray()

    async def add(self, line: bytes) -> None:
        """Add a line, which has no line feed in it."""
        self._buffer += line
        self._buffer += b"\n"
        self.count += 1
        self.size += len(line)
        if len(self._buffer) >= PIECE:
            await self._flush()

    async def read(self) -> AsyncGenerator[bytes, None]:
        """Yield the lines from the first one. Nothing may be added afterwards."""
        await self._flush()
        await trio.to_thread.run_sync(self._file.seek, 0, os.SEEK_SET)
        rest = b""
        while piece := await trio.to_thread.run_sync(self._file.read, PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line

    async def _flush(self) -> None:
        if self._buffer:
            data, self._buffer = self._buffer, bytearray()
            await trio.to_thread.run_sync(self._file.write, data)


@asynccontextmanager
async def open_spool(folder: Path) -> AsyncIterator[Spool]:
    """An empty spool in a nameless file of the folder, which the system removes with its descriptor."""
    with TemporaryFile(dir=folder) as file:
        yield Spool(file)


async def split_lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a stream whose pieces end anywhere."""
    rest = bytearray()
    async for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if not end:
            rest += piece
            continue
        for line in (bytes(rest) + piece[: end - 1]).split(b"\n"):
            yield line
        rest = bytearray(piece[end:])
    if rest:
        yield bytes(rest)
