"""The bytes of an upload: kept in memory if they are few, otherwise hashed and written to a file in threads.

While a thread hashes and writes one batch, the next one is received. In memory are at most three batches: in the
thread, between the two tasks, and being collected.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import NamedTuple

import trio

from lakehouse.services.storaged.files.blob_files import BlobFiles, BlobWriter

MAX_INLINE = 64 * 1024
"""Bytes of an object that the index holds itself. SQLite reads and writes blobs of this size faster than files, and one
sync of the disk makes bytes and metadata durable."""

BATCH = 512 * 1024
"""Bytes that one call of a thread hashes and writes."""

DISCARD_TIMEOUT = 30.0
"""Seconds for the removal of an incomplete file after a cancellation; beyond it, the thread goes on alone."""


class ReceivedContent(NamedTuple):
    """A whole upload. `etag` is its SHA-256, quoted. Its bytes are in `data`, or in a durable file named `blob`."""

    size: int
    etag: str
    data: bytes | None
    blob: str | None


async def receive_content(body: AsyncIterator[bytes], blobs: BlobFiles) -> ReceivedContent:
    """Receive a body to its end. Raises what `body` raises, and OSError; nothing is left of it then."""
    first: list[bytes] = []
    size = 0
    async for piece in body:
        first.append(piece)
        size += len(piece)
        if size > MAX_INLINE:
            return await _receive_into_file(first, body, blobs)
    data = b"".join(first)
    return ReceivedContent(size, _etag(hashlib.sha256(data)), data, None)


async def _receive_into_file(first: list[bytes], body: AsyncIterator[bytes], blobs: BlobFiles) -> ReceivedContent:
    writer = await trio.to_thread.run_sync(blobs.create)
    try:
        output = _HashingOutput(writer)
        await _pump(first, body, output)
        await trio.to_thread.run_sync(writer.finish)
    except BaseException:
        with trio.CancelScope(shield=True, relative_deadline=DISCARD_TIMEOUT):
            await trio.to_thread.run_sync(writer.discard, abandon_on_cancel=True)
        raise
    return ReceivedContent(output.size, _etag(output.hash), None, writer.name)


class _HashingOutput:
    """Batches on their way into a file. `write` runs in a thread."""

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, batch: list[bytes]) -> None:
        self._writer.write(batch)
        for piece in batch:
            self.hash.update(piece)
            self.size += len(piece)


async def _pump(first: list[bytes], body: AsyncIterator[bytes], output: _HashingOutput) -> None:
    """Write the first pieces and the rest of the body. What a task raises is raised as it is, not in a group."""
    errors: list[Exception] = []
    to_file, batches = trio.open_memory_channel[list[bytes]](1)

    async def write_batches() -> None:
        with batches:
            try:
                async for batch in batches:
                    await trio.to_thread.run_sync(output.write, batch)
            except OSError as error:
                errors.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_batches)
        with to_file:
            try:
                await _send_batches(first, body, to_file)
            except trio.BrokenResourceError:  # `write_batches` has ended: its error is raised below
                if not errors:
                    raise
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
                nursery.cancel_scope.cancel(reason="the upload failed")
    if errors:
        raise errors[0]


async def _send_batches(
    batch: list[bytes], body: AsyncIterator[bytes], to_file: trio.MemorySendChannel[list[bytes]]
) -> None:
    size = sum(map(len, batch))
    async for piece in body:
        batch.append(piece)
        size += len(piece)
        if size >= BATCH:
            await to_file.send(batch)
            batch, size = [], 0
    if batch:
        await to_file.send(batch)


def _etag(digest: hashlib._Hash) -> str:
    return f'"{digest.hexdigest()}"'
