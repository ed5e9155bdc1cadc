"""The database of the engine: what every index has, the truth of which everything else is derived.

A row number identifies an item for as long as the item does not change, and is never used again: an item that is
replaced gets a new row. Row numbers and the entries of `gone` come from one sequence, so a point of the sequence says
which rows and deletions a derived structure has seen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from lakehouse.core.errors import ErrNotFound
from lakehouse.services.contracts.retrieval import IndexOptions

VERSION = 1
DATABASE = "index.sqlite"
MAX_LOG = 16 * 2**20
"""Bytes of SQLite's log from which it is moved into the database."""
SLICE = 500
"""Parameters of one statement: SQLite permits 999 in old builds."""
WHOLE_INDEX = -1
"""The row of an entry in `gone` for a deleted index."""

_SCHEMA = """
CREATE TABLE state(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE indexes(
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, options BLOB NOT NULL,
    version INTEGER NOT NULL, length INTEGER NOT NULL, source BLOB NOT NULL, created_ms INTEGER NOT NULL,
    generation INTEGER NOT NULL, filed INTEGER NOT NULL);
CREATE TABLE items(
    row INTEGER PRIMARY KEY, number INTEGER NOT NULL, id TEXT NOT NULL, source TEXT NOT NULL, digest BLOB NOT NULL,
    meta BLOB NOT NULL, toks BLOB NOT NULL, text TEXT, vec BLOB NOT NULL);
CREATE UNIQUE INDEX items_by_id ON items(number, id);
CREATE INDEX items_by_source ON items(number, source) WHERE source != '';
CREATE TABLE gone(seq INTEGER PRIMARY KEY, number INTEGER NOT NULL, row INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRecord:
    """An index as the database has it.

    `filed` is the number of rows in the derived files of `generation` (`row_files`); 0 if it has none.
    """

    number: int
    name: str
    options: IndexOptions
    version: int
    length: int
    source: bytes
    created_ms: int
    generation: int
    filed: int


_COLUMNS = "number, name, options, version, length, source, created_ms, generation, filed"


def open_database(file: Path, *, writer: bool) -> sqlite3.Connection:
    """Open the database; the writer creates it. A commit is durable at return."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, cached_statements=256)
    if writer:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # `checkpoint` does it when the write is answered
        connection.execute("PRAGMA journal_size_limit = 0")  # so that the size of the log says what is in it
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -32768")
        _create(connection)
    else:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _create(connection: sqlite3.Connection) -> None:
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        raise RuntimeError(f"the indexes have version {found}, and this program knows versions up to {VERSION}")
    if found == 0:
        connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")


def checkpoint(connection: sqlite3.Connection, file: Path) -> None:
    """Move what was committed from the log into the database if the log is large. Waits for no reader.

    On a full disk all of it stays in the log.
    """
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size > MAX_LOG:
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def list_records(connection: sqlite3.Connection) -> list[IndexRecord]:
    """All indexes in the order of their names."""
    return [_record(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM indexes ORDER BY name")]


def find_record(connection: sqlite3.Connection, name: str) -> IndexRecord:
    """One index. Raises ErrNotFound."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM indexes WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise make_not_found(name)
    return _record(row)


def make_not_found(name: str) -> ErrNotFound:
    """The error of an index that is not there."""
    return ErrNotFound(f"there is no index {name!r}", field="index")


def _record(row: tuple[int, str, bytes, int, int, bytes, int, int, int]) -> IndexRecord:
    number, name, options, version, length, source, created_ms, generation, filed = row
    return IndexRecord(
        number=number,
        name=name,
        options=msgspec.json.decode(options, type=IndexOptions),
        version=version,
        length=length,
        source=source,
        created_ms=created_ms,
        generation=generation,
        filed=filed,
    )


def read_state(connection: sqlite3.Connection, name: str) -> int:
    """A number of the table `state`; 0 if it was never written."""
    row = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def write_state(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Set a number of the table `state`, in the transaction under way."""
    connection.execute("INSERT OR REPLACE INTO state VALUES(?, ?)", (name, value))


def read_rows(connection: sqlite3.Connection, number: int) -> NDArray[np.int64]:
    """The row numbers of all items of an index, ascending."""
    found = connection.execute("SELECT row FROM items INDEXED BY items_by_id WHERE number = ?", (number,)).fetchall()
    rows = np.fromiter((row for (row,) in found), dtype=np.int64, count=len(found))
    rows.sort()
    return rows


def select_by_rows(connection: sqlite3.Connection, columns: str, rows: Sequence[int]) -> Iterator[tuple]:  # type: ignore[type-arg]
    """The columns of the items with these row numbers, in no particular order."""
    for start in range(0, len(rows), SLICE):
        part = rows[start : start + SLICE]
        marks = ",".join("?" * len(part))
        yield from connection.execute(f"SELECT {columns} FROM items WHERE row IN ({marks})", part)


@contextmanager
def savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """Undo the statements of the block if it raises. There may be no transaction any more then."""
    connection.execute("SAVEPOINT job")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back all of it if the disk is full or memory is short
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        raise
    connection.execute("RELEASE job")
