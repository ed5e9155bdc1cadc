"""The journal of a promotion, `promotion.db` in the folder: the target, and what has been stored there.

A promotion that was ended at any moment is continued with it. It may lack the last files that were stored: those are
recognized by the id of the promotion, which every stored object has in its metadata.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lakehouse.services.lake.database import open_database, open_transaction
from lakehouse.services.lake.errors import LakeError

JOURNAL_NAME = "promotion.db"
WRITTEN_AT_ONCE = 100
"""Stored files that are recorded in one transaction."""

_SCHEMA = """
CREATE TABLE target (promotion TEXT NOT NULL, warehouse TEXT NOT NULL, catalog TEXT NOT NULL, name TEXT NOT NULL);
CREATE TABLE begun (key TEXT PRIMARY KEY) WITHOUT ROWID;  -- all keys that may have been stored
CREATE TABLE stored (
    key TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    digest TEXT NOT NULL,  -- SHA-256
    content_type TEXT NOT NULL,
    etag TEXT NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


class Stored(NamedTuple):
    """A file as it was stored: bytes, SHA-256 in hexadecimal digits, content type, the etag that S3 gave it."""

    size: int
    digest: str
    content_type: str
    etag: str


class Journal:
    """The journal, as `open_journal` opens it."""

    def __init__(self, database: sqlite3.Connection, promotion: str) -> None:
        self.promotion = promotion
        self._database = database
        self._pending: dict[str, Stored] = {}
        self._stored: dict[str, Stored] = {
            row[0]: Stored(*row[1:])
            for row in database.execute("SELECT key, size, digest, content_type, etag FROM stored")
        }

    @property
    def stored(self) -> Mapping[str, Stored]:
        """What has been stored, by key."""
        return self._stored

    def begin(self, keys: Iterable[str]) -> None:
        """Record keys that are going to be stored; durable at return."""
        with open_transaction(self._database):
            self._database.executemany("INSERT OR IGNORE INTO begun VALUES (?)", [(key,) for key in keys])

    def find_begun(self, but: Container[str]) -> list[str]:
        """The keys that may have been stored, but for those in `but`."""
        return [key for (key,) in self._database.execute("SELECT key FROM begun") if key not in but]

    def record(self, key: str, stored: Stored) -> None:
        """Record a file. It is durable with `flush`, or with one of the next ones."""
        self._stored[key] = self._pending[key] = stored
        if len(self._pending) >= WRITTEN_AT_ONCE:
            self.flush()

    def forget(self, keys: Sequence[str]) -> None:
        """Remove what is known of files, which may be stored nevertheless; durable at return."""
        with open_transaction(self._database):
            self._database.executemany("DELETE FROM stored WHERE key = ?", [(key,) for key in keys])
        for key in keys:
            self._stored.pop(key, None)
            self._pending.pop(key, None)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove files that are certainly not stored; durable at return."""
        self.forget(keys)
        with open_transaction(self._database):
            self._database.executemany("DELETE FROM begun WHERE key = ?", [(key,) for key in keys])

    def flush(self) -> None:
        """Make what was recorded durable."""
        rows = [(key, *stored) for key, stored in self._pending.items()]
        with open_transaction(self._database):
            self._database.executemany("INSERT OR REPLACE INTO stored VALUES (?, ?, ?, ?, ?)", rows)
        self._pending.clear()


@contextmanager
def open_journal(folder: Path, *, warehouse: str, catalog: str, name: str) -> Iterator[Journal]:
    """The journal of the promotion of a folder to a target, for the length of the block. It is made if it is missing.

    Raises LakeError if it is that of another target.
    """
    path = folder / JOURNAL_NAME
    database = open_database(path, _SCHEMA, 1)
    try:
        found = database.execute("SELECT promotion, warehouse, catalog, name FROM target").fetchone()
        if found is None:
            found = (secrets.token_hex(8), warehouse, catalog, name)
            database.execute("INSERT INTO target VALUES (?, ?, ?, ?)", found)
        promotion, *target = found
        if target != [warehouse, catalog, name]:
            raise LakeError(
                f"the promotion of {folder} to {target[0]}, catalog {target[2]} in {target[1]}, has begun: continue it,"
                f" or delete {path} to begin another one (what it has stored stays there)"
            )
        journal = Journal(database, promotion)
        try:
            yield journal
        finally:
            journal.flush()
    finally:
        database.close()


def read_promotion(folder: Path) -> str:
    """The id of the promotion that has begun, empty if there is none. Makes no file."""
    path = folder / JOURNAL_NAME
    if not path.exists():
        return ""
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        found = database.execute("SELECT promotion FROM target").fetchone()
    except sqlite3.OperationalError:  # it was being made
        return ""
    finally:
        database.close()
    return "" if found is None else str(found[0])
