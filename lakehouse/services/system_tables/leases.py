"""Files that queries may read: one that is part of no table any more is deleted when the last of them has ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path


class FileLeases:
    """The queries that are running, by number, and the files that wait for the end of some."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count(1)
        self._running: set[int] = set()
        self._discarded: deque[tuple[int, str]] = deque()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every file that is part of a table at the beginning of the block, or becomes one, until its end."""
        number = next(self._numbers)
        self._running.add(number)
        try:
            yield
        finally:
            self._running.discard(number)
            self._delete()

    def discard(self, path: str) -> None:
        """Delete a file of the lake that no new query will read, as soon as no running one can read it."""
        self._discarded.append((next(self._numbers), path))
        self._delete()

    def _delete(self) -> None:
        oldest = min(self._running, default=None)
        while self._discarded and (oldest is None or self._discarded[0][0] < oldest):
            (self._directory / self._discarded.popleft()[1]).unlink(missing_ok=True)
