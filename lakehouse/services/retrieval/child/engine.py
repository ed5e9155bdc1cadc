"""The main thread of the child: takes the calls that wait, hands out the writes, answers everything else.

There is no timer: while one batch runs, the next one gathers, so a single caller waits for nobody, and many callers
share products.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from lakehouse.services.contracts.retrieval import Digest, EngineStats, StoredItem
from lakehouse.services.retrieval.child.embed_worker import FEW_TEXTS, EmbedWorker, embed
from lakehouse.services.retrieval.child.keyword_writer import KeywordWriter
from lakehouse.services.retrieval.child.open_indexes import OpenIndexes
from lakehouse.services.retrieval.child.pending import CallCancelled, Pending, encode_failure, encode_reply
from lakehouse.services.retrieval.child.pieces import Pieces
from lakehouse.services.retrieval.child.preparation import Preparation
from lakehouse.services.retrieval.child.searcher import Searcher
from lakehouse.services.retrieval.child.store import SLICE
from lakehouse.services.retrieval.child.texts import TextModel
from lakehouse.services.retrieval.child.transport import CallTransport
from lakehouse.services.retrieval.child.writer import Outcome, Writer
from lakehouse.services.retrieval.messages import (
    CreateIndex,
    DeleteIndex,
    Embed,
    GetIndex,
    GetItems,
    Leave,
    ListDigests,
    ListIndexes,
    Merge,
    PrepareItems,
    PreparingCall,
    Search,
    SearchMany,
    Stats,
    Write,
)

WRITING_CALLS = (CreateIndex, DeleteIndex, Write, Merge)


class Engine:
    """Everything of the main thread."""

    def __init__(
        self,
        transport: CallTransport,
        connection: sqlite3.Connection,
        indexes: OpenIndexes,
        model: TextModel,
        keyword: KeywordWriter,
        writer: Writer,
        embedder: EmbedWorker,
        vector_engine: str,
        *,
        max_batch: int,
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._indexes = indexes
        self._model = model
        self._keyword = keyword
        self._writer = writer
        self._embedder = embedder
        self._vector_engine = vector_engine
        self._max_batch = max_batch
        self._written = 0
        self._writing: set[int] = set()
        self._pieces = Pieces(connection)
        self._preparation = Preparation(model)
        self._searcher = Searcher(indexes, self._pieces, model, keyword, check=self._check, settle=self._settle)

    def run(self) -> None:
        """Serve until the client ends."""
        while True:
            idle = not self._transport.waiting and not self._transport.outcomes
            self._transport.receive(wait=idle and not self._indexes.has_work)
            self._finish_outcomes()
            searches = []
            for pending in self._transport.take_waiting(self._max_batch):
                if isinstance(pending.call, Search | SearchMany):
                    searches.append(pending)
                else:
                    self._begin(pending)
            if searches:
                self._transport.answer(self._search(searches))
                for pending in searches:
                    self._transport.drop(pending)
            self._indexes.work()

    def _search(self, searches: Sequence[Pending]) -> Sequence[tuple[Pending, bytes]]:
        try:
            return self._searcher.run(searches)
        except Exception as error:  # noqa: BLE001 - logged, and reported to the callers
            body = encode_failure(error)
            return [(pending, body) for pending in searches]

    def _check(self, pendings: Sequence[Pending]) -> None:
        """Look for cancellations; raise CallCancelled if nobody waits for these calls any more."""
        self._transport.receive(wait=False)
        if all(pending.cancelled for pending in pendings):
            raise CallCancelled

    def _settle(self) -> None:
        """Wait until the writes that were handed out are applied."""
        waited_for = set(self._writing)
        while waited_for & self._writing:
            self._transport.receive(wait=not self._transport.outcomes)
            self._finish_outcomes()

    def _finish_outcomes(self) -> None:
        answers = []
        while self._transport.outcomes:
            outcome = self._transport.outcomes.popleft()
            self._writing.discard(outcome.pending.number)
            body = self._apply(outcome)
            if body is None:
                self._transport.drop(outcome.pending)
            else:
                answers.append((outcome.pending, body))
        if answers:
            self._transport.answer(answers)

    def _apply(self, outcome: Outcome) -> bytes | None:
        for change in outcome.changes:
            self._indexes.apply(change)
        call = outcome.pending.call
        if isinstance(call, CreateIndex) and outcome.changes:
            return encode_reply(self._indexes.describe(call.options.name))
        if isinstance(call, Write) and outcome.changes:
            self._written += len(call.items)
        return outcome.body

    def _begin(self, pending: Pending) -> None:
        """Hand a call to another thread, or answer it."""
        call = pending.call
        if isinstance(call, WRITING_CALLS):
            self._writing.add(pending.number)
            self._writer.put(pending)
        elif isinstance(call, Leave):
            self._transport.drop(pending)
            self._writer.put(pending)
        elif (isinstance(call, Embed) and len(call.texts) > FEW_TEXTS) or (
            isinstance(call, PrepareItems) and len(call.items) > FEW_TEXTS
        ):
            self._embedder.put(pending, self._answer)
        else:
            body = self._answer(pending)
            if body is None:
                self._transport.drop(pending)
            else:
                self._transport.answer([(pending, body)])

    def _answer(self, pending: Pending) -> bytes | None:
        call = pending.call
        if isinstance(call, Embed):
            return embed(pending, call, self._model)
        try:
            if isinstance(call, ListIndexes):
                return encode_reply(self._indexes.describe_all())
            if isinstance(call, GetIndex):
                return encode_reply(self._indexes.describe(call.index))
            if isinstance(call, GetItems):
                return encode_reply(self._get_items(call, pending))
            if isinstance(call, ListDigests):
                return encode_reply(self._list_digests(call))
            if isinstance(call, PreparingCall):
                return encode_reply(self._preparation.answer(call, pending.check))
            if isinstance(call, Stats):
                return encode_reply(self._make_stats())
        except CallCancelled:
            return None
        except Exception as error:  # noqa: BLE001 - reported to the caller
            return encode_failure(error)
        raise TypeError(f"{type(call).__name__} is not a call of the main thread")

    def _get_items(self, call: GetItems, pending: Pending) -> list[StoredItem]:
        number = self._indexes.record(call.index).number
        columns = "id, text, meta, source" + (", vec" if call.with_vector else ", x''")
        found = []
        for start in range(0, len(call.ids), SLICE):
            self._check([pending])
            part = call.ids[start : start + SLICE]
            rows = self._connection.execute(
                f"SELECT {columns} FROM items WHERE number = ? AND id IN ({','.join('?' * len(part))})",
                (number, *part),
            )
            found += [
                StoredItem(id=own, text=text, metadata=metadata, source=source, vector=vector)
                for own, text, metadata, source, vector in rows
            ]
        return found

    def _list_digests(self, call: ListDigests) -> list[Digest]:
        number = self._indexes.record(call.index).number
        rows = self._connection.execute(
            "SELECT id, digest FROM items WHERE number = ? AND id > ? ORDER BY id LIMIT ?",
            (number, call.after, call.limit),
        )
        return [Digest(*row) for row in rows]

    def _make_stats(self) -> EngineStats:
        infos = self._indexes.describe_all()
        return EngineStats(
            indexes=len(infos),
            items=self._indexes.items,
            memory=sum(info.memory for info in infos) + self._pieces.nbytes,
            searches=self._searcher.searches,
            batches=self._searcher.batches,
            search_seconds=self._searcher.seconds,
            shared_searches=self._searcher.shared,
            written_items=self._written,
            keyword_lag=self._keyword.lag.total(),
            keyword_engine=self._keyword.keyword.engine,
            vector_engine=self._vector_engine,
            model=self._model.name,
        )
