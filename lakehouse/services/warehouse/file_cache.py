"""Which data files are on the local disk: as many as fit, those that were used last, and all that are in use.

Data files never change, so a file that is there is current. The cache outlives the process: its folder is read at the
start. Only one process has the folder of a lake open.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lakehouse.core.errors import ErrUnavailable

RETRY_AFTER = 1.0


@dataclass(slots=True)
class _Entry:
    size: int
    uses: int = 0


class FileCache:
    """The files below a folder by their keys. Its methods do not wait, and are called by one thread."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._size = 0
        for key, size in _scan(folder):
            self._entries[key] = _Entry(size)
            self._size += size
        self._make_room(0)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self._size

    def __len__(self) -> int:
        return len(self._entries)

    def path(self, key: str) -> Path:
        """Where the file of a key is, or would be."""
        return self.folder / key

    def use(self, key: str, size: int) -> bool:
        """Keep a file from being deleted until `release`, if it is there with this size; 0 is any size."""
        entry = self._entries.get(key)
        if entry is None or (size and entry.size != size):
            return False
        entry.uses += 1
        self._entries.move_to_end(key)
        return True

    def release(self, keys: Iterable[str]) -> None:
        """End the uses of files."""
        for key in keys:
            self._entries[key].uses -= 1

    def add(self, key: str, file: Path, size: int) -> None:
        """Take over a complete file, and use it. Raises ErrUnavailable if the files in use leave no room for it."""
        former = self._entries.get(key)
        if former is not None and not former.uses:
            self._remove(key)
        elif former is not None:  # others have fetched it meanwhile
            file.unlink()
            former.uses += 1
            return
        self._make_room(size)
        target = self.path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
        self._entries[key] = _Entry(size, uses=1)
        self._size += size

    def _make_room(self, size: int) -> None:
        if self._size + size <= self.max_bytes:
            return
        unused = [key for key, entry in self._entries.items() if not entry.uses]
        for key in unused:
            if self._size + size <= self.max_bytes:
                return
            self._remove(key)
        if size and self._size + size > self.max_bytes:
            raise ErrUnavailable(
                f"the data files that queries use leave no room for others: lake.cache is {self.max_bytes} bytes",
                retryable=True,
                retry_after=RETRY_AFTER,
            )

    def _remove(self, key: str) -> None:
        self._size -= self._entries.pop(key).size
        path = self.path(key)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            path.parent.rmdir()


def _scan(folder: Path) -> list[tuple[str, int]]:
    """The files below a folder by their keys, those that were read least recently first."""
    found: list[tuple[float, str, int]] = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            status = path.stat()
            found.append((status.st_atime, str(path.relative_to(folder)), status.st_size))
    return [(key, size) for _, key, size in sorted(found)]
