"""The keyword index as the writer thread feeds it: catches up at the start, and commits now and then.

A commit takes about 100 ms however little it contains, so it waits until `INTERVAL` after the last one. A text that is
not committed yet is found by its vector only; `lag` counts such texts.

While the disk is full nothing is written, and searches find the words of the last commit. What is missing is replayed
from the database, which is tried every `RETRY` seconds. So it is when the process that writes is killed.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

from lakehouse.services.retrieval.child.changes import KeywordChange
from lakehouse.services.retrieval.child.keyword import (
    KEYWORD_ERRORS,
    KeywordIndex,
    KeywordWriterEnded,
    can_write,
    open_keyword_index,
    remove,
)
from lakehouse.services.retrieval.child.store import WHOLE_INDEX

logger = logging.getLogger("lakehouse.retrieval")

INTERVAL = 0.2
"""Seconds between two commits."""
RETRY = 5.0
"""Seconds between two attempts to write while the disk is full."""
REPLAY_SLICE = 4096
MAX_REPLAY_AT_START = 4096
"""Texts that are replayed before the first call; of more, searches find a part until the thread has replayed them."""

_UNSEEN = (
    "FROM items AS i JOIN indexes AS x ON x.number = i.number"
    " WHERE i.row > ? AND i.text != '' AND json_extract(x.options, '$.keyword')"
)
"""The texts that were written after a point of the sequence, of the indexes with keyword search."""


class KeywordWriter:
    """Owns the writing side of a `KeywordIndex`, whose files are below `folder`."""

    def __init__(self, keyword: KeywordIndex, folder: Path) -> None:
        self.keyword = keyword
        self._folder = folder
        self.lag: Counter[int] = Counter()
        """The number of texts that are not committed yet, by index; read by the main thread."""
        self.behind = False
        """Whether `replay` has still to be called."""
        self._sequence = keyword.version
        self._changed = False
        self._committed = float("-inf")
        self._retry_at: float | None = None
        """When a replay is tried, after a change that could not be written."""

    def begin_replay(self, connection: sqlite3.Connection, sequence: int) -> None:
        """Replay what is missing if it is little. If it is much, it is left to `replay` and in `lag` until then."""
        self._sequence = sequence
        counted = connection.execute(
            f"SELECT i.number, count(*) {_UNSEEN} GROUP BY i.number", (self.keyword.version,)
        ).fetchall()
        self.lag.update(dict(counted))
        if self.lag.total() > MAX_REPLAY_AT_START:
            self.behind = True
        else:
            self.replay(connection, sequence)

    def catch_up(self, connection: sqlite3.Connection, sequence: int) -> None:
        """Replay what `begin_replay` has left. Called by the thread."""
        try:
            self.replay(connection, sequence)
        except KEYWORD_ERRORS as error:
            self.postpone(error)

    def replay(self, connection: sqlite3.Connection, sequence: int) -> None:
        """Bring the keyword index to the state of the database. Called before the thread starts, or by it."""
        self._sequence = sequence
        seen = self.keyword.version
        if seen >= sequence:
            return
        for number, row in connection.execute("SELECT number, row FROM gone WHERE seq > ? ORDER BY seq", (seen,)):
            whole = row == WHOLE_INDEX
            self._write(KeywordChange(number, dead=[] if whole else [row], index_deleted=whole))
        cursor = connection.execute(f"SELECT i.number, i.row, i.text {_UNSEEN} ORDER BY i.row", (seen,))
        while part := cursor.fetchmany(REPLAY_SLICE):
            for number in {number for number, _, _ in part}:
                rows, texts = zip(*((row, text) for of, row, text in part if of == number), strict=True)
                self._write(KeywordChange(number, rows=rows, texts=texts))
        self._commit()

    def apply(self, change: KeywordChange, sequence: int) -> None:
        """Write one change; visible with the next commit."""
        if change.index_deleted:
            self.lag.pop(change.number, None)
        if change.rows:
            self.lag[change.number] += len(change.rows)
        self._sequence, self._changed = sequence, True
        if self._retry_at is None:
            try:
                self._write(change)
            except KEYWORD_ERRORS as error:
                self.postpone(error)

    def _write(self, change: KeywordChange) -> None:
        if change.index_deleted:
            self.keyword.delete_index(change.number)
        if change.dead:
            self.keyword.delete(change.dead)
        if change.rows:
            self.keyword.add(change.rows, change.number, change.texts)

    def wait_seconds(self) -> float | None:
        """The time until `commit_if_due` has something to do; None if there is nothing."""
        if self._retry_at is not None:
            return max(0.0, self._retry_at - time.monotonic())
        return max(0.0, self._committed + INTERVAL - time.monotonic()) if self._changed else None

    def commit_if_due(self, connection: sqlite3.Connection, now: float, *, at_once: bool = False) -> int | None:
        """Commit what was written if the last commit is old enough. Returns the point of the sequence it reaches.

        `at_once` commits however old the last commit is, and also what a process has lost that was killed meanwhile.
        """
        seen = self._try_commit(connection, now, at_once=at_once)
        if seen is None and at_once and self.wait_seconds() == 0:
            seen = self._try_commit(connection, time.monotonic(), at_once=True)
        return seen

    def _try_commit(self, connection: sqlite3.Connection, now: float, *, at_once: bool) -> int | None:
        if self._retry_at is None:
            if not self._changed or (not at_once and now < self._committed + INTERVAL):
                return None
            attempt = self._commit
        elif now >= self._retry_at:
            attempt = partial(self._recover, connection)
        else:
            return None
        try:
            attempt()
        except KEYWORD_ERRORS as error:
            self.postpone(error)
            return None
        return self._sequence

    def postpone(self, error: Exception) -> None:
        """Write nothing until a replay: at once if the disk has room, where a second error is raised, or later.

        A process that was killed once more is given time, too: there may be no memory for it.
        """
        room, again = can_write(self._folder), self._retry_at is not None
        if not again:
            logger.warning("the keyword index cannot be written, words are found in its last state: %s", error)
        elif room and not isinstance(error, KeywordWriterEnded):
            raise error
        self._retry_at = time.monotonic() + (0 if room and not again else RETRY)

    def leave(self, connection: sqlite3.Connection, now: float) -> int | None:
        """Do at once what is left to do, and end what would go on for long. Returns what `commit_if_due` does."""
        seen = self.commit_if_due(connection, now, at_once=True)
        self.keyword.end_merges()
        return seen

    def _recover(self, connection: sqlite3.Connection) -> None:
        self.keyword.reset()
        self.replay(connection, self._sequence)
        self._retry_at = None
        logger.info("the keyword index is complete again")

    def _commit(self) -> None:
        self.keyword.commit(self._sequence)
        self._changed, self._committed = False, time.monotonic()
        self.lag.clear()


def open_keyword_writer(folder: Path, connection: sqlite3.Connection, sequence: int) -> KeywordWriter:
    """Open the keyword index below `folder`, and bring it to the state of the database.

    One that cannot be written is made anew: everything in it is in the database, and no start may depend on it. On a
    full disk a new one could not be written either, so the index stays as it is until there is room.
    """
    writer = KeywordWriter(open_keyword_index(folder), folder)
    try:
        writer.begin_replay(connection, sequence)
    except KEYWORD_ERRORS as error:
        if isinstance(error, KeywordWriterEnded) or not can_write(folder):
            writer.postpone(error)
            return writer
        logger.warning("the keyword index cannot be written, and is made anew: %s", error)
        with suppress(*KEYWORD_ERRORS):
            writer.keyword.close()
        remove(folder)
        writer = KeywordWriter(open_keyword_index(folder), folder)
        writer.begin_replay(connection, sequence)
    return writer
