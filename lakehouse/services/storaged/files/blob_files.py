"""The files of objects that are too large for the index. All functions block; they run in threads.

A file's name is random, and is used once. A file that the index does not name is a leftover: of an upload that was cut
by the end of the process, or of an object that was replaced just before it.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from lakehouse.services.lake.durability import sync_directory

WRITEBACK = 8 * 1024 * 1024
"""Bytes after which the kernel is asked to write them to the disk, while more are received: `finish` then has nothing
left to wait for but the last of them."""

_SYNC_FILE_RANGE_WRITE = 2
_BLOB_NAME = re.compile(r"[0-9a-f]{32}")
_IOV_MAX = 512
"""Pieces of one `writev`; the kernel's limit is 1,024."""


class BlobWriter:
    """A new file that is being written. `finish` or `discard` must follow."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.name = path.name
        self._path = path
        self._descriptor = descriptor
        self._size = 0
        self._on_its_way = 0  # bytes that the kernel has been asked to write to the disk

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append the pieces. Raises OSError."""
        for first in range(0, len(pieces), _IOV_MAX):
            some = pieces[first : first + _IOV_MAX]
            size = sum(map(len, some))
            written = os.writev(self._descriptor, some)
            if written < size:
                self._write_rest(memoryview(b"".join(some))[written:])
            self._size += size
        if self._size - self._on_its_way >= WRITEBACK:
            start_writeback(self._descriptor, self._on_its_way, self._size - self._on_its_way)
            self._on_its_way = self._size

    def _write_rest(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    def finish(self) -> None:
        """Make the file and its name durable. Raises OSError."""
        os.fdatasync(self._descriptor)
        self._close()
        sync_directory(self._path.parent)

    def discard(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class BlobFiles:
    """The folder of the files, which are spread over 256 folders by the first two digits of their names."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Where the file of this name is."""
        return self._root / name[:2] / name

    def free_space(self) -> int:
        """Bytes that the file system has left for this user."""
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    def create(self) -> BlobWriter:
        """A new empty file. Raises OSError."""
        path = self.path(secrets.token_hex(16))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._root)
            descriptor = os.open(path, flags, 0o600)
        return BlobWriter(path, descriptor)

    def open(self, name: str) -> int:
        """A descriptor for reading. Raises OSError, FileNotFoundError for a file that was removed."""
        return os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files. Open descriptors stay readable. A file that cannot be removed is left for the next sweep."""
        for name in names:
            try:
                self.path(name).unlink(missing_ok=True)
            except OSError:
                continue

    def sweep(self, find_used: Callable[[Sequence[str]], set[str]]) -> int:
        """Remove the files that `find_used` does not return, given the names of one folder. Returns how many."""
        removed = 0
        for folder in self._root.iterdir():
            if not folder.is_dir() or len(folder.name) != 2:
                continue
            names = [entry.name for entry in os.scandir(folder) if _BLOB_NAME.fullmatch(entry.name)]
            used = find_used(names)
            leftovers = [name for name in names if name not in used or name[:2] != folder.name]
            for name in leftovers:
                (folder / name).unlink(missing_ok=True)
            removed += len(leftovers)
        return removed


def start_writeback(descriptor: int, start: int, size: int) -> None:
    """Have the kernel begin to write a part of a file to the disk. A hint: without glibc it does nothing."""
    function = _find_sync_file_range()
    if function is not None:
        function(descriptor, start, size, _SYNC_FILE_RANGE_WRITE)


@cache
def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function
