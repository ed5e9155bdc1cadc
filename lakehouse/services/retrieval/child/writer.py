"""The writer thread: transactions with group commit, then the keyword index.

All writes that wait are one transaction with a savepoint each, so they share the wait for the disk. SQLite and numpy
let other threads run meanwhile. What a transaction changed goes to the main thread as `Outcome`s.
"""

from __future__ import annotations

import logging
import os
import queue
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from lakehouse.services.retrieval.child import store
from lakehouse.services.retrieval.child.changes import Change, IndexDeleted, KeywordChange
from lakehouse.services.retrieval.child.keyword_writer import KeywordWriter
from lakehouse.services.retrieval.child.pending import CallCancelled, Pending, encode_failure, encode_reply
from lakehouse.services.retrieval.child.row_files import remove_unknown
from lakehouse.services.retrieval.child.transactions import Transactions
from lakehouse.services.retrieval.messages import CreateIndex, DeleteIndex, Leave, Merge, Write

logger = logging.getLogger("lakehouse.retrieval")

MAX_GROUP = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call: the body of its reply, None if it was cancelled, and what it changed.

    With `changes` of an index that is created, the main thread makes the reply.
    """

    pending: Pending
    body: bytes | None
    changes: Sequence[Change] = ()


class Writer:
    """The thread. `report` is called in it with the outcomes of one transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        folder: Path,
        transactions: Transactions,
        keyword: KeywordWriter,
        report: Callable[[list[Outcome]], None],
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._transactions = transactions
        self._keyword = keyword
        self._report = report
        self._queue: queue.SimpleQueue[Pending] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the thread, which ends with the process."""
        Thread(target=self._run, daemon=True, name="writer").start()

    def put(self, pending: Pending) -> None:
        """Queue a write."""
        self._queue.put(pending)

    def _run(self) -> None:
        """Write until the process ends. An error outside of a call ends it: its successor catches up."""
        try:
            self._serve()
        except Exception:
            logger.exception("the writer of the retrieval engine failed")
            os._exit(1)

    def _serve(self) -> None:
        self._remove_unknown_files()
        if self._keyword.behind:
            self._keyword.catch_up(self._connection, self._transactions.sequence)
        while True:
            try:
                first = self._queue.get(timeout=self._keyword.wait_seconds())
            except queue.Empty:
                self._commit_keywords()
                continue
            group = [first]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get())
            left = any(isinstance(each.call, Leave) for each in group)
            writes = [each for each in group if not isinstance(each.call, Leave)]
            if writes:
                self._serve_writes(writes)
            if left:
                self._note_seen(self._keyword.leave(self._connection, time.monotonic()))

    def _serve_writes(self, group: Sequence[Pending]) -> None:
        outcomes = self.write(group)
        if any(isinstance(each.call, Write) and each.call.wait_for_words for each in group):
            self._commit_keywords(at_once=True)
        self._report(outcomes)
        store.checkpoint(self._connection, self._folder.parent / store.DATABASE)
        self._commit_keywords()

    def write(self, group: Sequence[Pending]) -> list[Outcome]:
        """Run the calls of a group in one transaction. If the transaction fails, all of them fail."""
        self._transactions.keyword_changes.clear()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._write_one(pending) for pending in group]
            store.write_state(self._connection, "sequence", self._transactions.sequence)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, MemoryError) as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return [Outcome(pending, encode_failure(error)) for pending in group]
        self._apply_keywords(self._transactions.keyword_changes)
        if any(isinstance(change, IndexDeleted) or change.reopen for outcome in outcomes for change in outcome.changes):
            self._remove_unknown_files()
        return outcomes

    def _write_one(self, pending: Pending) -> Outcome:
        keyword_changes = len(self._transactions.keyword_changes)
        try:
            with store.savepoint(self._connection):
                pending.check()
                return self._dispatch(pending)
        except CallCancelled:
            outcome = Outcome(pending, None)
        except Exception as error:
            if not self._connection.in_transaction:  # SQLite has rolled back the whole group
                raise
            outcome = Outcome(pending, encode_failure(error))
        del self._transactions.keyword_changes[keyword_changes:]
        return outcome

    def _dispatch(self, pending: Pending) -> Outcome:
        call, transactions = pending.call, self._transactions
        if isinstance(call, CreateIndex):
            return Outcome(pending, b"", [transactions.create(call)])
        if isinstance(call, DeleteIndex):
            return Outcome(pending, encode_reply(None), [transactions.delete_index(call)])
        if isinstance(call, Merge):
            merged, changes = transactions.merge(call, pending.check)
            return Outcome(pending, encode_reply(merged), changes)
        if isinstance(call, Write):
            written, change = transactions.write(call, pending.check)
            return Outcome(pending, encode_reply(written), [change])
        raise TypeError(f"{type(call).__name__} does not write")

    def _apply_keywords(self, changes: Sequence[KeywordChange]) -> None:
        for change in changes:
            self._keyword.apply(change, self._transactions.sequence)

    def _commit_keywords(self, *, at_once: bool = False) -> None:
        self._note_seen(self._keyword.commit_if_due(self._connection, time.monotonic(), at_once=at_once))

    def _note_seen(self, seen: int | None) -> None:
        """Forget what was deleted up to a point of the sequence that the keyword index has reached."""
        if seen is not None:
            with suppress(sqlite3.OperationalError):  # a full disk; the next commit tries it again
                self._connection.execute("DELETE FROM gone WHERE seq <= ?", (seen,))

    def _remove_unknown_files(self) -> None:
        known = {(record.number, record.generation) for record in store.list_records(self._connection)}
        remove_unknown(self._folder, known)
