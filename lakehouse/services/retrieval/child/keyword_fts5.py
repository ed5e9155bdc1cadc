"""The keyword index on SQLite's FTS5 with its Porter stemmer, where tantivy is not installed.

It ranks as well and is slower: BM25 is computed for every match, 30 to 50 ms over 55,000 texts. It has a file of its
own, since it is derived as tantivy's is.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lakehouse.services.retrieval.child.keyword import (
    MAX_QUERY_CHARACTERS,
    MAX_TERMS,
    Allowed,
    Floats,
    KeywordIndexError,
    ListRows,
    Rows,
    no_hits,
)

TERM = re.compile(r"[^\W_]{1,40}")
SCHEMA = """
CREATE TABLE IF NOT EXISTS state (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS places (row INTEGER PRIMARY KEY, number INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS places_number ON places (number, row);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (text, tokenize = 'porter unicode61');
"""
LISTED = "SELECT value FROM json_each(?)"
OWN = "SELECT row FROM places WHERE number IN (SELECT value FROM json_each(?))"
MATCHES = (
    # the unary plus keeps SQLite from looking up each row on its own, with a search for each
    "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? AND +rowid IN ({rows}) ORDER BY rank, rowid LIMIT ?"
)


class Fts5Index:
    """See `KeywordIndex`."""

    engine = "fts5"

    def __init__(self, folder: Path) -> None:
        """Open or create the index. Raises KeywordIndexError for a damaged file."""
        file = folder / "keywords.sqlite"
        try:
            self._writer = connect(file)
            self._writer.executescript(SCHEMA)
            if self._writer.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise KeywordIndexError(f"{file} is damaged")
            self._reader = connect(file)
            self.version = self._read_version()
        except sqlite3.DatabaseError as error:
            raise KeywordIndexError(f"{file} cannot be opened: {error}") from error

    def add(self, rows: Sequence[int], index: int, texts: Sequence[str]) -> None:
        """See `KeywordIndex`."""
        self._begin()
        self._writer.executemany("INSERT INTO places VALUES (?, ?)", ((row, index) for row in rows))
        self._writer.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", zip(rows, texts, strict=True))

    def delete(self, rows: Sequence[int]) -> None:
        """See `KeywordIndex`."""
        self._begin()
        self._writer.executemany("DELETE FROM places WHERE row = ?", ((row,) for row in rows))
        self._writer.executemany("DELETE FROM words WHERE rowid = ?", ((row,) for row in rows))

    def delete_index(self, index: int) -> None:
        """See `KeywordIndex`."""
        self._begin()
        self._writer.execute("DELETE FROM words WHERE rowid IN (SELECT row FROM places WHERE number = ?)", (index,))
        self._writer.execute("DELETE FROM places WHERE number = ?", (index,))

    def commit(self, version: int) -> None:
        """See `KeywordIndex`."""
        self._begin()
        self._writer.execute("DELETE FROM state")
        self._writer.execute("INSERT INTO state VALUES (?)", (version,))
        self._writer.execute("COMMIT")
        self.version = version

    def reset(self) -> None:
        """See `KeywordIndex`."""
        if self._writer.in_transaction:  # SQLite itself ends the transaction if the disk is full
            self._writer.execute("ROLLBACK")
        self.version = self._read_version()

    def end_merges(self) -> None:
        """See `KeywordIndex`. FTS5 merges within the transactions."""

    def search(
        self,
        text: str,
        indexes: Sequence[int],
        limit: int,
        allowed: Allowed | None = None,
        rows: Rows | None = None,
        list_allowed: ListRows | None = None,  # noqa: ARG002 - it ranks all matches in any case
    ) -> tuple[Rows, Floats]:
        """See `KeywordIndex`."""
        query = make_query(text)
        if not query or not indexes or limit < 1:
            return no_hits()
        numbers = f"[{','.join(map(str, indexes))}]"
        if rows is not None:
            listed = f"[{','.join(map(str, rows.tolist()))}]"
            return self._fetch(f"{OWN} INTERSECT {LISTED}", (query, numbers, listed, limit))
        found, scores = self._fetch(OWN, (query, numbers, limit if allowed is None else -1))
        if allowed is None:
            return found, scores
        mask = allowed(found)
        return found[mask][:limit], scores[mask][:limit]

    def close(self) -> None:
        """See `KeywordIndex`."""
        self._reader.close()
        self._writer.close()

    def _read_version(self) -> int:
        found = self._writer.execute("SELECT version FROM state").fetchone()
        return int(found[0]) if found else 0

    def _begin(self) -> None:
        if not self._writer.in_transaction:
            self._writer.execute("BEGIN IMMEDIATE")

    def _fetch(self, rows: str, values: Sequence[str | int]) -> tuple[Rows, Floats]:
        found = self._reader.execute(MATCHES.format(rows=rows), values).fetchall()
        if not found:
            return no_hits()
        numbers, scores = zip(*found, strict=True)
        return np.array(numbers, dtype=np.int64), np.array(scores, dtype=np.float32)


def connect(file: Path) -> sqlite3.Connection:
    """A connection that may change its thread: the store opens the index in one and writes in another."""
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # what a power failure takes is replayed by the store
    return connection


def make_query(text: str) -> str:
    """An FTS5 query for any of the terms of a text; each is quoted, so none is an operator."""
    terms = list(dict.fromkeys(TERM.findall(text[:MAX_QUERY_CHARACTERS].lower())))
    if len(terms) > MAX_TERMS:
        terms = sorted(terms, key=len, reverse=True)[:MAX_TERMS]  # long words are the rare ones
    return " OR ".join(f'"{term}"' for term in terms)
