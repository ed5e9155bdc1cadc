"""What was answered to an `Idempotency-Key`, for 24 hours and over restarts.

The records are a table in the lake's `state.db`, or objects of its warehouse (`shared_records`).

A key is recorded as begun before the commit, with the answer but for what only the commit knows. If the process ends
between the commit and the record of the answer, the repeated upload finds the commit by the id that it had.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import trio

from lakehouse.core.errors import ErrConflict
from lakehouse.services.ingestd.parameters import IngestParameters
from lakehouse.services.ingestd.receiving import Upload

T = TypeVar("T")

LIFETIME = 24 * 3600.0
"""Seconds."""
MAX_KEY = 255
BUSY_TIMEOUT = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ingest_keys (
    key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    begun REAL NOT NULL,
    status INTEGER,
    document BLOB NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a key: the digest of its request, and the answer. `status` is None for one that only began."""

    request: str
    status: int | None
    document: bytes


class Records(Protocol):
    """Where the records are kept."""

    async def find(self, key: str) -> Record | None:
        """The record of a key that is not older than `LIFETIME`."""

    async def begin(self, key: str, request: str, document: bytes) -> None:
        """Record that a commit begins. Raises ErrConflict if another request with this key has begun meanwhile."""

    async def finish(self, key: str, request: str, status: int, document: bytes) -> None:
        """Record the answer."""


class IdempotencyKeys:
    """The recorded keys, and those that requests of this process use."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._in_use: set[str] = set()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Mark a key as in use by a request of this process. Raises `ErrConflict` if another request uses it."""
        if key in self._in_use:
            raise ErrConflict("another request with this Idempotency-Key is in progress", retryable=True)
        self._in_use.add(key)
        try:
            yield
        finally:
            self._in_use.discard(key)

    async def find_repeated(self, key: str, request: str) -> Record | None:
        """The record of a key. Raises `ErrConflict` if it is that of another request than the one with this digest."""
        record = await self._records.find(key)
        if record is not None and record.request != request:
            raise make_conflict()
        return record

    async def begin(self, key: str, request: str, document: bytes) -> None:
        """Record that a commit for this key begins."""
        await self._records.begin(key, request, document)

    async def finish(self, key: str, request: str, status: int, document: bytes) -> None:
        """Record the answer."""
        await self._records.finish(key, request, status, document)


def make_conflict() -> ErrConflict:
    """The error for a key that was used for another request."""
    return ErrConflict("the Idempotency-Key was used for another upload: send a new one")


class LocalRecords:
    """The records in a database of the lake's folder. Each operation is one transaction of its own, in a thread."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    async def find(self, key: str) -> Record | None:
        """The record of a key that is not older than `LIFETIME`."""
        return await self._run(lambda database: self._find(database, key))

    async def begin(self, key: str, request: str, document: bytes) -> None:
        """Record that a commit for this key begins."""
        await self._save(key, request, None, document)

    async def finish(self, key: str, request: str, status: int, document: bytes) -> None:
        """Record the answer."""
        await self._save(key, request, status, document)

    async def _save(self, key: str, request: str, status: int | None, document: bytes) -> None:
        row = (key, request, self._clock(), status, document)
        await self._run(lambda database: _insert(database, row))

    async def _run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        return await trio.to_thread.run_sync(self._run_in_thread, operation)

    def _run_in_thread(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        database = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT)
        try:
            database.execute("PRAGMA synchronous = FULL")
            with database:
                database.execute(_SCHEMA)
                database.execute("DELETE FROM ingest_keys WHERE begun < ?", (self._clock() - LIFETIME,))
                return operation(database)
        finally:
            database.close()

    def _find(self, database: sqlite3.Connection, key: str) -> Record | None:
        row = database.execute("SELECT request, status, document FROM ingest_keys WHERE key = ?", (key,)).fetchone()
        return None if row is None else Record(request=row[0], status=row[1], document=row[2])


def _insert(database: sqlite3.Connection, row: tuple[str, str, float, int | None, bytes]) -> None:
    database.execute("INSERT OR REPLACE INTO ingest_keys VALUES (?, ?, ?, ?, ?)", row)


def make_commit_id(key: str, request: str) -> str:
    """The id that the commit of a key has in the table, by which it is found again."""
    return "key-" + hashlib.sha256(f"{key}\0{request}".encode()).hexdigest()[:32]


def digest_request(parameters: IngestParameters, upload: Upload) -> str:
    """What makes two requests the same: the parameters, the bytes of the file, its name and its type."""
    parts = [repr(parameters), upload.digest, upload.file_name, upload.content_type]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
