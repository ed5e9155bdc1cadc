"""SQLite databases in the folder of a lake: the connection that writes, and those that read.

Journal mode WAL with `synchronous=FULL`: a transaction is durable when it has been committed, for one sync of the disk.
The process that has the lake's folder open is the only one that writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import trio

from lakehouse.services.lake.durability import sync_directory

MAX_READERS = 4

Result = TypeVar("Result")


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that any thread may use, one at a time. Raises sqlite3.Error."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)


def open_database(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """Open the connection that writes. A missing file is made with `schema`, which sets `user_version` to `version`.

    Raises sqlite3.Error, also for a database of another version, and OSError.
    """
    is_new = not path.exists()
    database = connect(path)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            database.executescript(f"BEGIN IMMEDIATE; {schema} COMMIT;")
        elif found != version:
            raise sqlite3.DatabaseError(f"{path} has version {found}, and this program knows {version}")
        if is_new:
            sync_directory(path.parent)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def open_transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block writes, durable at its end, or roll all of it back if the block or the commit fails.

    Raises sqlite3.Error.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite itself rolls back after some failures, such as a full disk
            database.execute("ROLLBACK")
        raise


class DatabaseReaders:
    """At most `MAX_READERS` connections, opened when they are needed, each used by one thread at a time."""

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
