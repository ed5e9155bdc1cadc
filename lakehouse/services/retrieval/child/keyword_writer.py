"""The keyword index as the writer thread feeds it: catches up at the start, and commits now and then.

A commit takes about 100 ms however little it contains, so it waits until `INTERVAL` after the last one. A text that is
not committed yet is found by its vector only; `lag` counts such texts.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from lakehouse.services.retrieval.child.changes import KeywordChange
from lakehouse.services.retrieval.child.keyword import KeywordIndex, open_keyword_index, remove
from lakehouse.services.retrieval.child.store import WHOLE_INDEX

logger = logging.getLogger("lakehouse.retrieval")

INTERVAL = 0.2
"""Seconds between two commits."""
REPLAY_SLICE = 4096
MAX_REPLAY_AT_START = 4096
"""Texts that are replayed before the first call; of more, searches find a part until the thread has replayed them."""


class KeywordWriter:
    """Owns the writing side of a `KeywordIndex`."""

    def __init__(self, keyword: KeywordIndex) -> None:
        self.keyword = keyword
        self.lag: Counter[int] = Counter()
        """The number of texts that are not committed yet, by index; read by the main thread."""
        self.behind = False
        """Whether `replay` has still to be called."""
        self._sequence = keyword.version
        self._changed = False
        self._committed = float("-inf")

    def begin_replay(self, connection: sqlite3.Connection, sequence: int) -> None:
        """Replay what is missing if it is little. If it is much, it is left to `replay` and in `lag` until then."""
        counted = connection.execute(
            "SELECT number, count(*) FROM items WHERE row > ? AND text != '' GROUP BY number", (self.keyword.version,)
        ).fetchall()
        if sum(count for _, count in counted) > MAX_REPLAY_AT_START:
            self.behind = True
            self.lag.update(dict(counted))
        else:
            self.replay(connection, sequence)

    def replay(self, connection: sqlite3.Connection, sequence: int) -> None:
        """Bring the keyword index to the state of the database. Called before the thread starts, or by it."""
        seen = self.keyword.version
        if seen >= sequence:
            return
        for number, row in connection.execute("SELECT number, row FROM gone WHERE seq > ? ORDER BY seq", (seen,)):
            self.apply(KeywordChange(number, [] if row == WHOLE_INDEX else [row], row == WHOLE_INDEX), sequence)
        cursor = connection.execute(
            "SELECT i.number, i.row, i.text FROM items AS i JOIN indexes AS x ON x.number = i.number"
            " WHERE i.row > ? AND i.text != '' AND json_extract(x.options, '$.keyword') ORDER BY i.row",
            (seen,),
        )
        while part := cursor.fetchmany(REPLAY_SLICE):
            for number in {number for number, _, _ in part}:
                own = [(row, text) for of, row, text in part if of == number]
                self.apply(KeywordChange(number, (), False, *zip(*own, strict=True)), sequence)
        self._sequence, self._changed = sequence, True
        self.commit_if_due(time.monotonic())

    def apply(self, change: KeywordChange, sequence: int) -> None:
        """Write one change; visible with the next commit."""
        if change.index_deleted:
            self.keyword.delete_index(change.number)
            self.lag.pop(change.number, None)
        if change.dead:
            self.keyword.delete(change.dead)
        if change.rows:
            self.keyword.add(change.rows, change.number, change.texts)
            self.lag[change.number] += len(change.rows)
        self._sequence, self._changed = sequence, True

    def wait_seconds(self) -> float | None:
        """The time until a commit is due; None if there is nothing to commit."""
        return max(0.0, self._committed + INTERVAL - time.monotonic()) if self._changed else None

    def commit_if_due(self, now: float) -> int | None:
        """Commit what was written if the last commit is old enough. Returns the point of the sequence it reaches."""
        if not self._changed or now < self._committed + INTERVAL:
            return None
        self.keyword.commit(self._sequence)
        self._changed, self._committed = False, time.monotonic()
        self.lag.clear()
        return self._sequence


def open_keyword_writer(folder: Path, connection: sqlite3.Connection, sequence: int) -> KeywordWriter:
    """Open the keyword index below `folder`, and bring it to the state of the database.

    One that cannot be written is made anew: everything in it is in the database, and no start may depend on it.
    """
    writer = KeywordWriter(open_keyword_index(folder))
    try:
        writer.begin_replay(connection, sequence)
    except (ValueError, OSError) as error:  # what tantivy raises
        logger.warning("the keyword index cannot be written, and is made anew: %s", error)
        with suppress(ValueError, OSError):
            writer.keyword.close()
        remove(folder)
        writer = KeywordWriter(open_keyword_index(folder))
        writer.begin_replay(connection, sequence)
    return writer
