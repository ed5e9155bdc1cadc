"""The object store of the lake's folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from lakehouse.asgi.content import Content, ContentTruncated
from lakehouse.core.errors import ErrBadRequest, ErrPreconditionFailed
from lakehouse.services.contracts.object_store import ObjectInfo, ObjectPage
from lakehouse.services.lake.database import DatabaseReaders
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.storaged.files.blob_files import BlobFiles
from lakehouse.services.storaged.files.dataset_files import DatasetFiles
from lakehouse.services.storaged.index.listing import encode_cursor
from lakehouse.services.storaged.index.object_index import ObjectIndex
from lakehouse.services.storaged.index.recent_objects import RecentObjects
from lakehouse.services.storaged.object_reads import ObjectReads
from lakehouse.services.storaged.object_writes import ObjectWrites

RECENT_BYTES = 8 * 1024 * 1024
"""Memory for the objects that were used last."""

PIECE = 256 * 1024
"""Bytes of a file that are read and sent at once."""


class LakeObjectStore:
    """The object store of the lake's folder. Implements `ObjectStore`; made by `open_object_store`.

    Keys below `datasets/` are the files of the tables: they are read and listed, and no call writes them.
    """

    def __init__(self, directory: LakeDirectory, index: ObjectIndex, readers: DatabaseReaders) -> None:
        self.recent = RecentObjects(RECENT_BYTES)
        blobs = BlobFiles(directory.objects)
        self.reads = ObjectReads(readers, blobs, DatasetFiles(directory.datasets), self.recent)
        self.writes = ObjectWrites(index, blobs, self.recent)

    @asynccontextmanager
    async def read(self, key: str, *, start: int = 0, stop: int | None = None) -> AsyncIterator[OpenObjectReader]:
        """Open the bytes of an object from `start` up to, but not including, `stop`. Raises ErrNotFound."""
        async with self.reads.open(key) as (row, content):
            end = row.size if stop is None else min(stop, row.size)
            yield OpenObjectReader(row.to_info(), content, start, end)

    async def write(
        self,
        key: str,
        body: AsyncIterator[bytes],
        *,
        content_type: str = "application/octet-stream",
        if_match: str | None = None,
        if_absent: bool = False,
    ) -> ObjectInfo:
        """Store the body; the object is durable when the call returns. An error of `body` leaves the store as it was.

        Raises ErrPreconditionFailed, ErrInsufficientStorage, ErrBadRequest for the key, and what `body` raises.
        """

        def check(present: ObjectInfo | None) -> None:
            if if_absent and present is not None:
                raise ErrPreconditionFailed(f"the key {key} has an object")
            if if_match is not None and (present is None or present.etag != if_match):
                raise ErrPreconditionFailed(f"the object {key} has another etag than {if_match}")

        result = await self.writes.put(key, body, content_type=content_type, precondition=check)
        return result.row.to_info()

    async def find(self, key: str) -> ObjectInfo | None:
        """Return the metadata of an object, or None for an unused key."""
        row = await self.reads.find(key)
        return None if row is None else row.to_info()

    async def delete(self, key: str) -> bool:
        """Delete an object. Returns whether the key had one. Durable at return."""
        return await self.writes.delete(key)

    async def list(self, prefix: str = "", *, delimiter: str = "", limit: int = 1000, cursor: str = "") -> ObjectPage:
        """List at most `limit` objects whose keys begin with `prefix`; with a `delimiter`, keys are grouped by it."""
        if limit < 1:
            raise ErrBadRequest("limit must be at least 1", field="limit")
        page = await self.reads.list(prefix, delimiter=delimiter, limit=limit, cursor=cursor)
        return ObjectPage(
            objects=[row.to_info() for row in page.objects],
            prefixes=[group.decode() for group in page.prefixes],
            cursor=encode_cursor(page.next_start),
        )


class OpenObjectReader:
    """The bytes of an open object, for one iteration. Implements `ObjectReader`."""

    def __init__(self, info: ObjectInfo, content: Content, start: int, stop: int) -> None:
        self.info = info
        self._content = content
        self._position = start
        self._stop = stop

    def __aiter__(self) -> OpenObjectReader:
        return self

    async def __anext__(self) -> bytes:
        left = self._stop - self._position
        if left <= 0:
            raise StopAsyncIteration
        data = bytes(await self._content.read_at(self._position, min(PIECE, left)))
        if not data:
            raise ContentTruncated(f"the object {self.info.key} ended at {self._position} of {self._stop} bytes")
        self._position += len(data)
        return data


@asynccontextmanager
async def open_object_store(directory: LakeDirectory) -> AsyncIterator[LakeObjectStore]:
    """Open the object store for the length of the block. Its process holds the lock of the folder.

    What an earlier process left behind is removed first. Raises sqlite3.Error, OSError.
    """
    index = await trio.to_thread.run_sync(_open_index, directory)
    readers = DatabaseReaders(directory.objects_db)
    try:
        yield LakeObjectStore(directory, index, readers)
    finally:
        readers.close()
        index.close()


def _open_index(directory: LakeDirectory) -> ObjectIndex:
    index = ObjectIndex(directory.objects_db)
    try:
        if not index.begin_use():
            BlobFiles(directory.objects).sweep(index.find_used)
    except BaseException:
        index.leave_open()
        index.close()
        raise
    return index
