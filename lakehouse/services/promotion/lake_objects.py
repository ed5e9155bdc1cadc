"""The objects of a lake in its folder, which no process changes while the folder is locked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lakehouse.services.lake.database import DatabaseReaders
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.storaged.files.blob_files import BlobFiles
from lakehouse.services.storaged.index.listing import LAST_KEY
from lakehouse.services.storaged.index.object_index import find_entry, read_rows

_BATCH = 10_000


class LakeObject(NamedTuple):
    """An object: bytes, SHA-256 in hexadecimal digits, content type."""

    key: str
    size: int
    digest: str
    content_type: str


class LakeObjects:
    """Reads the index of the objects and their bytes."""

    def __init__(self, directory: LakeDirectory, readers: DatabaseReaders | None) -> None:
        self._blobs = BlobFiles(directory.objects)
        self._readers = readers

    async def list(self) -> list[LakeObject]:
        """All objects, in the order of their keys."""
        return [] if self._readers is None else await self._readers.run(_list_objects)

    async def find(self, key: str) -> bytes | Path:
        """The bytes of an object, or the file that has them."""
        assert self._readers is not None  # noqa: S101 - the key is that of a listed object
        entry = await self._readers.run(partial(find_entry, key=key.encode()))
        assert entry is not None  # noqa: S101
        return entry.data if entry.data is not None else self._blobs.path(entry.blob or "")


@contextmanager
def open_objects(directory: LakeDirectory) -> Iterator[LakeObjects]:
    """The objects of a folder for the length of the block; none if it never had any."""
    if not directory.objects_db.exists():
        yield LakeObjects(directory, None)
        return
    readers = DatabaseReaders(directory.objects_db)
    try:
        yield LakeObjects(directory, readers)
    finally:
        readers.close()


def _list_objects(database: sqlite3.Connection) -> list[LakeObject]:
    found: list[LakeObject] = []
    start = b""
    while rows := read_rows(database, start, LAST_KEY, _BATCH):
        found += [LakeObject(row.key.decode(), row.size, row.etag.strip('"'), row.content_type) for row in rows]
        start = rows[-1].key + b"\x00"
    return found
