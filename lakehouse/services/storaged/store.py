"""The object store of a lake: in its folder, or in the bucket of its warehouse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Protocol

import trio

from lakehouse.asgi.content import Content, ContentTruncated
from lakehouse.core.errors import ErrBadRequest, ErrPreconditionFailed
from lakehouse.services.contracts.object_store import ObjectInfo, ObjectPage
from lakehouse.services.lake.database import DatabaseReaders
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.storaged.bucket.reads import BucketReads
from lakehouse.services.storaged.bucket.writes import BucketWrites
from lakehouse.services.storaged.files.blob_files import BlobFiles
from lakehouse.services.storaged.files.dataset_files import DatasetFiles
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.index.listing import RowPage, encode_cursor
from lakehouse.services.storaged.index.object_index import ObjectIndex, Precondition
from lakehouse.services.storaged.index.recent_objects import RecentObjects
from lakehouse.services.storaged.object_reads import ObjectReads, OpenObject
from lakehouse.services.storaged.object_writes import ObjectWrites, PutResult
from lakehouse.services.warehouse.bucket import Bucket

RECENT_BYTES = 8 * 1024 * 1024
"""Memory for the objects that were used last."""

URL_LIFETIME = 300
"""Seconds for which anybody can use the URL of an object."""

PIECE = 256 * 1024
"""Bytes of a file that are read and sent at once."""


class Reads(Protocol):
    """How objects are found, opened and listed; see `object_reads`."""

    async def find(self, key: str) -> Row | None: ...

    def open(self, key: str, *, whole: bool = False) -> AbstractAsyncContextManager[OpenObject]: ...

    async def list(self, prefix: str, *, delimiter: str, limit: int, cursor: str) -> RowPage: ...


class Writes(Protocol):
    """How objects are put and deleted; see `object_writes`."""

    def check_space(self, size: int) -> None: ...

    async def put(
        self, key: str, body: AsyncIterator[bytes], *, content_type: str, precondition: Precondition | None = None
    ) -> PutResult: ...

    async def delete(self, key: str, *, precondition: Precondition | None = None) -> bool: ...


class LakeObjectStore:
    """The object store of a lake. Implements `ObjectStore`; made by `open_object_store`.

    Keys below `datasets/` are the files of the tables: they are read and listed, and no call writes them. `recent` has
    objects in memory, where no other process writes.
    """

    def __init__(
        self, reads: Reads, writes: Writes, recent: RecentObjects, presign: Callable[[str], str] | None = None
    ) -> None:
        """`presign` makes a URL from which a client can fetch an object itself, for some minutes."""
        self.presign = presign
        self.reads = reads
        self.writes = writes
        self.recent = recent

    @asynccontextmanager
    async def read(self, key: str, *, start: int = 0, stop: int | None = None) -> AsyncIterator[OpenObjectReader]:
        """Open the bytes of an object from `start` up to, but not including, `stop`. Raises ErrNotFound."""
        async with self.reads.open(key, whole=not start and stop is None) as (row, content):
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

        precondition = check if if_absent or if_match is not None else None
        result = await self.writes.put(key, body, content_type=content_type, precondition=precondition)
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
async def open_object_store(directory: LakeDirectory, bucket: Bucket | None = None) -> AsyncIterator[LakeObjectStore]:
    """Open the object store for the length of the block. Its process holds the lock of the folder.

    With a bucket, the objects are there. Without, what an earlier process left behind is removed from the folder first.
    Raises sqlite3.Error, OSError.
    """
    if bucket is not None:
        presign = partial(bucket.presign, seconds=URL_LIFETIME)
        yield LakeObjectStore(BucketReads(bucket), BucketWrites(bucket), RecentObjects(0), presign)
        return
    index = await trio.to_thread.run_sync(_open_index, directory)
    readers = DatabaseReaders(directory.objects_db)
    try:
        recent, blobs = RecentObjects(RECENT_BYTES), BlobFiles(directory.objects)
        reads = ObjectReads(readers, blobs, DatasetFiles(directory.datasets), recent)
        yield LakeObjectStore(reads, ObjectWrites(index, blobs, recent), recent)
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
