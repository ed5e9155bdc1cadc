"""Reading objects: of the index, of files, and the files of the tables beside them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import trio

from lakehouse.asgi.conditional import Validators
from lakehouse.asgi.content import BytesContent, Content
from lakehouse.asgi.file_content import FileContent, close_file
from lakehouse.core.errors import ErrNotFound
from lakehouse.services.lake.database import DatabaseReaders
from lakehouse.services.storaged.files.blob_files import BlobFiles
from lakehouse.services.storaged.files.dataset_files import DatasetFiles, SortedRows
from lakehouse.services.storaged.index.entries import Entry, Row
from lakehouse.services.storaged.index.listing import MAX_LIMIT, RowPage, decode_cursor, end_of_prefix, list_page
from lakehouse.services.storaged.index.object_index import find_entry, read_rows
from lakehouse.services.storaged.index.recent_objects import RecentObjects
from lakehouse.services.storaged.keys import DATASETS, check_key, check_prefix

_OPEN_ATTEMPTS = 8
"""An object that is replaced between the look-up and the opening of its file is looked up again."""


class OpenObject(NamedTuple):
    """An object that is open for reading."""

    row: Row
    content: Content


class ObjectReads:
    """Finds, opens and lists objects. Keys below `datasets/` are the files of the tables."""

    def __init__(
        self, readers: DatabaseReaders, blobs: BlobFiles, datasets: DatasetFiles, recent: RecentObjects
    ) -> None:
        self._readers = readers
        self._blobs = blobs
        self._datasets = datasets
        self._recent = recent

    async def find(self, key: str) -> Row | None:
        """The metadata of an object, None if the key has none."""
        check_key(key)
        if key.startswith(DATASETS):
            return await trio.to_thread.run_sync(self._datasets.find, key)
        entry = await self._find_entry(key)
        return None if entry is None else entry.row

    @asynccontextmanager
    async def open(self, key: str, *, whole: bool = False) -> AsyncIterator[OpenObject]:  # noqa: ARG002
        """Open an object; its bytes stay readable when it is replaced or deleted meanwhile. Raises ErrNotFound.

        `whole` says that the caller will read all of it, which makes no difference here.
        """
        check_key(key)
        row, source, path = await (self._open_dataset_file(key) if key.startswith(DATASETS) else self._open_entry(key))
        validators = make_validators(row)
        if isinstance(source, bytes):
            yield OpenObject(row, BytesContent(source, validators))
            return
        try:
            yield OpenObject(row, FileContent(source, row.size, validators, path=path))
        finally:
            await close_file(source)

    async def list(self, prefix: str, *, delimiter: str, limit: int, cursor: str) -> RowPage:
        """A page of metadata; `limit` is at most `MAX_LIMIT`. Raises ErrBadRequest for a prefix or a cursor."""
        check_prefix(prefix)
        start = decode_cursor(cursor)
        read = partial(
            self._list, prefix=prefix.encode(), delimiter=delimiter.encode(), limit=min(limit, MAX_LIMIT), start=start
        )
        return await self._readers.run(read)

    async def _find_entry(self, key: str) -> Entry | None:
        raw = key.encode()
        entry = self._recent.find(raw)
        if entry is None:
            changes = self._recent.changes
            entry = await self._readers.run(partial(find_entry, key=raw))
            if entry is not None:
                self._recent.add_read(entry, changes)
        return entry

    async def _open_entry(self, key: str) -> tuple[Row, bytes | int, str]:
        """The metadata of an object, its bytes or the descriptor of its file, and the path of that."""
        for _ in range(_OPEN_ATTEMPTS):
            entry = await self._find_entry(key)
            if entry is None:
                raise make_not_found(key)
            if entry.data is not None:
                return entry.row, entry.data, ""
            blob = entry.blob or ""
            try:
                return entry.row, await trio.to_thread.run_sync(self._blobs.open, blob), str(self._blobs.path(blob))
            except FileNotFoundError:
                continue
        raise FileNotFoundError(f"the file of the object {key!r} is missing")

    async def _open_dataset_file(self, key: str) -> tuple[Row, int, str]:
        opened = await trio.to_thread.run_sync(self._datasets.open, key)
        if opened is None:
            raise make_not_found(key)
        return *opened, ""

    def _list(self, db: sqlite3.Connection, prefix: bytes, delimiter: bytes, limit: int, start: bytes) -> RowPage:
        datasets = SortedRows(self._datasets.list(prefix, max(start, prefix), end_of_prefix(prefix)))

        def read(start: bytes, stop: bytes, count: int) -> list[Row]:
            rows = read_rows(db, start, stop, count)
            files = datasets.read(start, stop, count)
            return sorted([*rows, *files])[:count] if files else rows

        return list_page(read, prefix=prefix, delimiter=delimiter, limit=limit, start=start)


def make_validators(row: Row) -> Validators:
    """What identifies this version of an object in HTTP."""
    return Validators(etag=row.etag.encode(), modified=row.modified / 1_000_000)


def make_not_found(key: str) -> ErrNotFound:
    """The error (404) of a key without an object."""
    return ErrNotFound(f"there is no object with the key {key}")
