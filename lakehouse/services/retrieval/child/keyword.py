"""Keyword search: one index of the words of all texts of the engine, ranked by BM25.

All indexes of vectors share one keyword index, so the statistics of a term are those of all texts, and BM25 scores of
different indexes can be compared. The user's text is split into terms; it is never parsed as a query.

The keyword index is derived from the store. `version` is what the last commit was given: the store replays later
writes, and all of them after damage, where an empty index with version 0 takes the place of the damaged one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lakehouse.core.extras import missing_modules

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
Allowed = Callable[[Rows], NDArray[np.bool_]]
"""Which of some rows a filter lets through."""
ListRows = Callable[[], Rows]

FORMAT = 1
"""Grows with every change of the schema; a folder of another format is built anew."""
ROOM = 32 * 2**20
"""Bytes that an index may need for a commit: what tantivy's writer collects before it writes a segment."""
MAX_QUERY_CHARACTERS = 20_000
MAX_TERMS = 64
"""Terms of a query; of more of them the rarest are searched, since common ones decide little and cost most."""
MAX_LISTED_ROWS = 1000
"""Rows up to which a filter is given to the engine as a list."""


KEYWORD_ERRORS = (ValueError, OSError, sqlite3.Error)
"""What the engines raise for a change that they cannot write; tantivy's ValueError does not tell the reason."""


class KeywordIndex(Protocol):
    """Texts by row number. Row numbers are never used again; a text that changes gets a new row.

    `add`, `delete`, `delete_index`, `commit` and `reset` belong to one thread, the searches to another one. A change
    that cannot be written raises one of `KEYWORD_ERRORS`; searches then go on in the state of the last commit.
    """

    engine: str
    version: int
    """That of the last commit; 0 for an index without one."""

    def add(self, rows: Sequence[int], index: int, texts: Sequence[str]) -> None:
        """Add the texts of new rows of an index; searches find them after the next commit."""

    def delete(self, rows: Sequence[int]) -> None:
        """Delete rows; unknown ones are ignored."""

    def delete_index(self, index: int) -> None:
        """Delete all rows of an index."""

    def commit(self, version: int) -> None:
        """Make all changes durable and visible, together with the version of the store that they lead to."""

    def reset(self) -> None:
        """Forget all changes since the last commit. Changes can be written again after one that has failed."""

    def end_merges(self) -> None:
        """End what goes on after a commit, such as merging; it begins again with one of the next. There may be no
        changes since the last commit."""

    def search(
        self,
        text: str,
        indexes: Sequence[int],
        limit: int,
        allowed: Allowed | None = None,
        rows: Rows | None = None,
        list_allowed: ListRows | None = None,
    ) -> tuple[Rows, Floats]:
        """Return the best rows of these indexes with their BM25 scores, the best first.

        Rows that `allowed` refuses, or that are not among `rows` (at most MAX_LISTED_ROWS), do not count towards
        `limit`. Fewer than `limit` rows are all that match. `list_allowed` lists all rows that `allowed` lets through,
        for an engine that is quicker with them.
        """

    def close(self) -> None:
        """End the process that writes, if there is one; changes that were not committed are lost."""


class KeywordWriterEnded(OSError):
    """The process that writes the index has ended. The changes since the last commit are lost."""


class KeywordIndexError(Exception):
    """The files of a keyword index are damaged or of another format."""


def open_keyword_index(folder: Path) -> KeywordIndex:
    """Open the index below `folder` with tantivy, or with SQLite's FTS5 if tantivy is not installed.

    A missing or damaged index becomes an empty one of version 0. An index of the other engine is removed.
    """
    from_tantivy = not missing_modules("tantivy")
    name = f"{'tantivy' if from_tantivy else 'fts5'}-{FORMAT}"
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
        if other.name != name:
            remove(other)
    try:
        return open_engine(folder / name, from_tantivy=from_tantivy)
    except KeywordIndexError:
        if not can_write(folder):
            raise
        remove(folder / name)
        return open_engine(folder / name, from_tantivy=from_tantivy)


def can_write(folder: Path) -> bool:
    """Whether the disk takes a new file of `ROOM` bytes."""
    try:
        with TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
    except OSError:
        return False
    return True


def open_engine(folder: Path, *, from_tantivy: bool) -> KeywordIndex:
    """Open or create the index of one engine. Raises KeywordIndexError for damaged files."""
    folder.mkdir(exist_ok=True)
    if from_tantivy:
        from lakehouse.services.retrieval.child.keyword_tantivy import TantivyIndex

        return TantivyIndex(folder)
    from lakehouse.services.retrieval.child.keyword_fts5 import Fts5Index

    return Fts5Index(folder)


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def no_hits() -> tuple[Rows, Floats]:
    """The result of a search that finds nothing."""
    return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
