"""The database of the system tables: the files with rows that are in no segment, and the list of segments.

The rows of a batch are appended to a file of each of its tables, and recorded in one transaction. Functions block, and
are called by one thread at a time.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lakehouse.services.contracts.tables import LINES_SUFFIX
from lakehouse.services.lake.database import open_database, open_transaction
from lakehouse.services.system_tables.row_files import MAX_SIZE, GrowingFile
from lakehouse.telemetry.traffic_ipc import Batch, Rows

logger = logging.getLogger("lakehouse.system_tables")

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE row_files (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,      -- of the table
    path TEXT NOT NULL,      -- relative to the lake's folder
    rows INTEGER NOT NULL,
    size INTEGER NOT NULL,   -- in bytes; what is behind it does not count
    first REAL NOT NULL,     -- time of the oldest row, seconds since 1970
    last REAL NOT NULL,
    mark INTEGER NOT NULL    -- the number of the last batch with rows in it
);
CREATE TABLE senders (sender TEXT PRIMARY KEY, number INTEGER NOT NULL, last REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    path TEXT NOT NULL,      -- relative to the lake's folder
    rows INTEGER NOT NULL,
    size INTEGER NOT NULL,
    first REAL NOT NULL,
    last REAL NOT NULL,
    mark INTEGER NOT NULL    -- the last batch, or the last change of another database, whose rows are in it
);
PRAGMA user_version = 1;
"""

_RECORD_STORES = """
CREATE TABLE IF NOT EXISTS record_stores (name TEXT PRIMARY KEY, store TEXT NOT NULL) WITHOUT ROWID -- of tables
"""
"""A table that former versions lack, and do not mind."""

SENDER_LIFETIME = 86_400.0
"""Seconds after which a sender that sends nothing is forgotten. Its worker has ended: a live one repeats a batch that
was not acknowledged within seconds."""

_COLUMNS = "number, name, path, rows, size, first, last, mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """A file with rows of a table: lines, or a segment. Times are seconds since 1970.

    `number` is 0 before it is recorded. `mark` is the last batch, or the last change of another database, whose rows
    are in it.
    """

    number: int = 0
    name: str
    path: str
    rows: int
    size: int
    first: float
    last: float
    mark: int


class SystemDatabase:
    """The connection, and the files that grow."""

    def __init__(self, path: Path, folder: Path) -> None:
        """Open the database; `folder` is that of the files. Raises sqlite3.Error, OSError."""
        self._db = open_database(path, _SCHEMA, SCHEMA_VERSION)
        self._db.execute(_RECORD_STORES)
        self._folder = folder
        self._growing: dict[str, GrowingFile] = {}
        last = "SELECT MAX(mark) FROM (SELECT mark FROM row_files UNION ALL SELECT mark FROM segments)"
        self._mark: int = self._db.execute(last).fetchone()[0] or 0

    def close(self) -> None:
        """Close the connection and the files."""
        for name in tuple(self._growing):
            self._finish(name)
        self._db.close()

    # Rows.

    def append(self, batch: Batch) -> None:
        """Store a batch, unless it is stored already; durable at return. Raises sqlite3.Error, OSError."""
        try:
            with open_transaction(self._db):
                if self._note_sender(batch):
                    self._mark += 1
                    for name, rows in batch.tables.items():
                        self._append_rows(name, rows)
        except BaseException:
            self._undo(batch.tables)
            raise
        for name in batch.tables:
            if (file := self._growing.get(name)) is not None:
                file.settle()

    def _note_sender(self, batch: Batch) -> bool:
        """Whether the batch is new."""
        found = self._db.execute("SELECT number FROM senders WHERE sender = ?", (batch.sender,)).fetchone()
        if found is not None and found[0] >= batch.number:
            return False
        last = max((rows.last for rows in batch.tables.values()), default=0.0)
        self._db.execute("INSERT OR REPLACE INTO senders VALUES (?, ?, ?)", (batch.sender, batch.number, last))
        self._db.execute("DELETE FROM senders WHERE last < ?", (last - SENDER_LIFETIME,))
        return True

    def _append_rows(self, name: str, rows: Rows) -> None:
        file = self._growing.get(name)
        if file is None or file.size >= MAX_SIZE:
            self._finish(name)
            file = self._growing[name] = GrowingFile(self._folder / f"{name}-{secrets.token_hex(8)}{LINES_SUFFIX}")
        self._record_rows(name, rows, file, file.append(rows.lines))

    def _record_rows(self, name: str, rows: Rows, file: GrowingFile, size: int) -> None:
        path = f"{self._folder.name}/{file.path.name}"
        if not file.size:
            self._insert("row_files", TableFile(name=name, path=path, rows=0, size=0, first=rows.first, last=0, mark=0))
        self._db.execute(
            "UPDATE row_files SET rows = rows + ?, size = ?, first = MIN(first, ?), last = MAX(last, ?), mark = ?"
            " WHERE path = ?",
            (rows.count, size, rows.first, rows.last, self._mark, path),
        )

    def _undo(self, names: Iterable[str]) -> None:
        """Take back what an append that failed has written. Raises OSError."""
        with ExitStack() as stack:  # each of the files, also if another one cannot be cut
            for name in names:
                if (file := self._growing.get(name)) is not None:
                    if not file.size:
                        stack.callback(file.path.unlink)
                    stack.callback(self._finish, name)
                    stack.callback(file.cut)

    def _finish(self, name: str) -> None:
        """Append nothing more to the file of a table."""
        if (file := self._growing.pop(name, None)) is not None:
            file.close()

    def count_unsealed(self, name: str) -> tuple[int, int, int, float]:
        """Of the rows of a table that are in no segment: how many, the last batch, their files, the oldest one's time.

        The time is infinite if there are none.
        """
        columns = "COALESCE(SUM(rows), 0), COALESCE(MAX(mark), 0), COUNT(*), COALESCE(MIN(first), 9e999)"
        row = self._db.execute(f"SELECT {columns} FROM row_files WHERE name = ?", (name,)).fetchone()  # noqa: S608
        return int(row[0]), int(row[1]), int(row[2]), float(row[3])

    def take_unsealed(self, name: str, *, limit: int) -> Sequence[TableFile]:
        """The files with the oldest rows that are in no segment, at least `limit` rows or all. They grow no more."""
        self._finish(name)
        taken: list[TableFile] = []
        for file in self._list("row_files", name):
            taken.append(file)
            limit -= file.rows
            if limit <= 0:
                break
        return taken

    def expire_unsealed(self, name: str, before: float) -> Sequence[TableFile]:
        """Forget the files of lines whose rows are all older than a time. Returns them."""
        with open_transaction(self._db):
            self._finish(name)
            expired = [file for file in self._list("row_files", name) if file.last < before]
            self._db.executemany("DELETE FROM row_files WHERE number = ?", [(file.number,) for file in expired])
        return expired

    def repair(self) -> None:
        """Cut off what a process that was killed has left behind the lines that count. Raises OSError.

        A file that is not whole, as in a copy of a folder that was in use, is forgotten; the log says so.
        """
        for row in self._db.execute(f"SELECT {_COLUMNS} FROM row_files").fetchall():  # noqa: S608 - a constant
            found = _make_file(row)
            path = self._folder / Path(found.path).name
            size = path.stat().st_size if path.exists() else 0
            if size > found.size:
                os.truncate(path, found.size)
            elif size < found.size:
                logger.warning("%d rows of %s are lost: %s is not whole", found.rows, found.name, found.path)
                self._db.execute("DELETE FROM row_files WHERE number = ?", (found.number,))

    # Segments.

    def list_segments(self, name: str) -> Sequence[TableFile]:
        """The segments of a table, the oldest first."""
        return self._list("segments", name)

    def list_paths(self, name: str) -> set[str]:
        """The paths of all files of a table."""
        return {file.path for table in ("row_files", "segments") for file in self._list(table, name)}

    def add_segments(self, segments: Sequence[TableFile]) -> None:
        """Record segments in the place of the lines that they were written from."""
        with open_transaction(self._db):
            for segment in segments:
                self._insert("segments", segment)
                self._db.execute("DELETE FROM row_files WHERE name = ? AND mark <= ?", (segment.name, segment.mark))

    def replace_segments(self, replaced: Sequence[TableFile], added: Sequence[TableFile]) -> None:
        """Record segments in the place of others."""
        with open_transaction(self._db):
            self._db.executemany("DELETE FROM segments WHERE number = ?", [(old.number,) for old in replaced])
            for segment in added:
                self._insert("segments", segment)

    def find_record_store(self, name: str) -> str:
        """Which records of a service the segments of a table have rows of (`RecordCount.store`)."""
        found = self._db.execute("SELECT store FROM record_stores WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else ""

    def set_record_store(self, name: str, store: str) -> None:
        """Forget the segments of a table: its rows are those of other records now."""
        with open_transaction(self._db):
            self._db.execute("DELETE FROM segments WHERE name = ?", (name,))
            self._db.execute("INSERT OR REPLACE INTO record_stores VALUES (?, ?)", (name, store))

    def delete_table(self, name: str) -> None:
        """Forget all files of a table."""
        self._finish(name)
        with open_transaction(self._db):
            self._db.execute("DELETE FROM row_files WHERE name = ?", (name,))
            self._db.execute("DELETE FROM segments WHERE name = ?", (name,))

    def _list(self, table: str, name: str) -> Sequence[TableFile]:
        query = f"SELECT {_COLUMNS} FROM {table} WHERE name = ? ORDER BY number"  # noqa: S608 - constants
        return [_make_file(row) for row in self._db.execute(query, (name,))]

    def _insert(self, table: str, new: TableFile) -> None:
        self._db.execute(
            f"INSERT INTO {table} (name, path, rows, size, first, last, mark) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (new.name, new.path, new.rows, new.size, new.first, new.last, new.mark),
        )


def _make_file(row: tuple[int, str, str, int, int, float, float, int]) -> TableFile:
    number, name, path, rows, size, first, last, mark = row
    return TableFile(number=number, name=name, path=path, rows=rows, size=size, first=first, last=last, mark=mark)
