"""The files of the tables as objects: the key `datasets/t/data/x.parquet` is the file of that path in the folder.

They are listed and read, never written here. All functions block; they run in threads.
"""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.storaged.index.entries import Row
from lakehouse.services.storaged.keys import DATASETS, check_key

PARQUET = "application/vnd.apache.parquet"
_SUFFIX = ".parquet"
_START = DATASETS.encode()
_STOP = _START[:-1] + b"0"  # the first key behind all that begin with the prefix


class DatasetFiles:
    """The Parquet files below the folder of the tables. Links are not followed."""

    def __init__(self, folder: Path) -> None:
        self._root = folder

    def find(self, key: str) -> Row | None:
        """The row of a file, None if there is none. `key` is valid."""
        if not key.endswith(_SUFFIX):
            return None
        try:
            return _row(key, self._path(key).lstat())
        except (OSError, ValueError):
            return None

    def open(self, key: str) -> tuple[Row, int] | None:
        """The row of a file and a descriptor for reading, None if there is none. `key` is valid."""
        if not key.endswith(_SUFFIX):
            return None
        try:
            descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, ValueError):
            return None
        row = _row(key, os.fstat(descriptor))
        if row is None:
            os.close(descriptor)
            return None
        return row, descriptor

    def _path(self, key: str) -> Path:
        return self._root / key.removeprefix(DATASETS)

    def list(self, prefix: bytes, start: bytes, stop: bytes) -> list[Row]:
        """The files whose keys begin with `prefix` and lie from `start` to before `stop`, in the order of keys."""
        if start >= _STOP or stop <= _START:
            return []
        folder = prefix[: prefix.rindex(b"/") + 1].decode() if prefix.startswith(_START) else DATASETS
        return sorted((row for row in self._scan(folder) if start <= row.key < stop), key=lambda row: row.key)

    def _scan(self, folder: str) -> Iterator[Row]:
        """All files below a folder, given as the beginning of their keys with its slash."""
        try:
            entries = list(os.scandir(self._path(folder)))
        except OSError:  # no such folder, or one that was removed meanwhile
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._scan(f"{folder}{entry.name}/")
            elif entry.name.endswith(_SUFFIX) and (row := _row_of_entry(folder + entry.name, entry)) is not None:
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
