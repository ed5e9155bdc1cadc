"""Connections for reading the index, each used by one thread at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from lakehouse.services.storaged.index.object_index import connect

MAX_READERS = 4

Result = TypeVar("Result")


class IndexReaders:
    """At most `MAX_READERS` connections, opened when they are needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._limiter = trio.CapacityLimiter(MAX_READERS)
        self._idle: list[sqlite3.Connection] = []

    async def run(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        """Call `read` in a thread. Raises sqlite3.Error. Cancelled, it waits for the call."""
        return await trio.to_thread.run_sync(self._run, read, limiter=self._limiter)

    def _run(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        db = self._idle.pop() if self._idle else self._open()
        try:
            return read(db)
        finally:
            self._idle.append(db)

    def _open(self) -> sqlite3.Connection:
        db = connect(self._path)
        db.execute("PRAGMA query_only=1")
        return db

    def close(self) -> None:
        """Close the connections; none is in use."""
        while self._idle:
            self._idle.pop().close()
