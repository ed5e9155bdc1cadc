"""The files of the tables as objects: the key `datasets/t/data/x.parquet` is the file of that path in the folder.

They are listed and read, never written here. All functions block; they run in threads.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.keys import DATASETS, check_key

PARQUET = "application/vnd.apache.parquet"
_SUFFIX = ".parquet"
_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC
_START = DATASETS.encode()
_STOP = _START[:-1] + b"0"  # the first key behind all that begin with the prefix


class DatasetFiles:
    """The Parquet files below the folder of the tables. Links below it are not followed."""

    def __init__(self, folder: Path) -> None:
        self._root = folder

    def find(self, key: str) -> Row | None:
        """The row of a file, None if there is none. `key` is valid."""
        if not key.endswith(_SUFFIX):
            return None
        folders, _, name = key.rpartition("/")
        try:
            with self._enter(folders) as parent:
                return _row(key, os.stat(name, dir_fd=parent, follow_symlinks=False))
        except OSError:
            return None

    def open(self, key: str) -> tuple[Row, int] | None:
        """The row of a file and a descriptor for reading, None if there is none. `key` is valid."""
        if not key.endswith(_SUFFIX):
            return None
        folders, _, name = key.rpartition("/")
        try:
            with self._enter(folders) as parent:
                descriptor = os.open(name, os.O_RDONLY | _NO_LINK | os.O_NONBLOCK, dir_fd=parent)
        except OSError:
            return None
        row = _row(key, os.fstat(descriptor))
        if row is None:
            os.close(descriptor)
            return None
        return row, descriptor

    def list(self, prefix: bytes, start: bytes, stop: bytes) -> list[Row]:
        """The files whose keys begin with `prefix` and lie from `start` to before `stop`, in the order of keys."""
        if start >= _STOP or stop <= _START:
            return []
        folders = prefix[: prefix.rindex(b"/")].decode() if prefix.startswith(_START) else DATASETS[:-1]
        try:
            with self._enter(folders) as parent:
                found = list(_scan(parent, folders))
        except OSError:
            return []
        return sorted((row for row in found if start <= row.key < stop), key=lambda row: row.key)

    @contextmanager
    def _enter(self, folders: str) -> Iterator[int]:
        """A descriptor of a folder, given as the beginning of keys: `datasets/t/data`. Raises OSError."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in folders.split("/")[1:]:
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def _scan(folder: int, key: str) -> Iterator[Row]:
    """All files below a folder, given as its descriptor and the beginning of their keys."""
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        place = f"{key}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            try:
                below = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=folder)
            except OSError:  # removed meanwhile
                continue
            try:
                yield from _scan(below, place)
            finally:
                os.close(below)
        elif entry.name.endswith(_SUFFIX) and (row := _row_of_entry(place, entry)) is not None:
            yield row


class SortedRows:
    """Rows in the order of keys, read like the index."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self._keys = [row.key for row in rows]

    def read(self, start: bytes, stop: bytes, count: int) -> list[Row]:
        """At most `count` rows from `start` to before `stop`."""
        first = bisect_left(self._keys, start)
        return self._rows[first : min(bisect_left(self._keys, stop), first + count)]


def _row_of_entry(key: str, entry: os.DirEntry[str]) -> Row | None:
    try:
        check_key(key)
        return _row(key, entry.stat(follow_symlinks=False))
    except (OSError, ErrBadRequest):
        return None


def _row(key: str, status: os.stat_result) -> Row | None:
    if not stat.S_ISREG(status.st_mode):
        return None
    return Row(
        key=key.encode(),
        size=status.st_size,
        etag=f'"{status.st_mtime_ns:x}-{status.st_size:x}"',
        modified=status.st_mtime_ns // 1000,
        content_type=PARQUET,
    )
