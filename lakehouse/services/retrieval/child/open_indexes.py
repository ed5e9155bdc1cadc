"""The indexes by name: all records, and those that are open in memory, which the first use opens."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from lakehouse.services.contracts.retrieval import IndexInfo
from lakehouse.services.retrieval.child.cell_builder import CellBuilder
from lakehouse.services.retrieval.child.changes import Change, IndexChanged, IndexDeleted
from lakehouse.services.retrieval.child.index import MemoryIndex, open_index
from lakehouse.services.retrieval.child.keyword_writer import KeywordWriter
from lakehouse.services.retrieval.child.products import Pack
from lakehouse.services.retrieval.child.scan import Mask
from lakehouse.services.retrieval.child.store import IndexRecord, find_record, list_records, make_not_found
from lakehouse.services.retrieval.child.texts import TextModel

Check = Callable[[], None]


class OpenIndexes:
    """Belongs to the main thread. `connection` only reads."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        folder: Path,
        pack: Pack,
        model: TextModel,
        keyword: KeywordWriter,
        wake: Callable[[], None],
    ) -> None:
        self._builder = CellBuilder(folder, pack, wake)
        self._connection = connection
        self._folder = folder
        self._pack = pack
        self._model = model
        self._keyword = keyword
        self._records = {record.name: record for record in list_records(connection)}
        self._open: dict[int, MemoryIndex] = {}

    def record(self, name: str) -> IndexRecord:
        """The record of an index. Raises ErrNotFound."""
        try:
            return self._records[name]
        except KeyError:
            raise make_not_found(name) from None

    def open(self, name: str, check: Check) -> MemoryIndex:
        """An index in memory. Raises ErrNotFound."""
        record = self.record(name)
        index = self._open.get(record.number)
        if index is None:
            check()
            index = open_index(self._connection, find_record(self._connection, name), self._folder, self._pack)
            index.record = record
            self._open[record.number] = index
            self._builder.consider(index)
        return index

    def select(self, name: str, document: bytes, check: Check) -> Mask | None:
        """The items of an open index that pass a filter. Raises ErrBadRequest."""
        return self.open(name, check).select(document, self._connection, check)

    def count_tokens(self, index: MemoryIndex) -> None:
        """Count in how many items of an index each token is, unless that is known."""
        index.count_tokens(self._connection, len(self._model.load().token_vectors))

    def apply(self, change: Change) -> None:
        """Take in what a committed transaction has changed."""
        record = change.record
        if isinstance(change, IndexDeleted):
            self._records.pop(record.name, None)
            self._close(record.number)
            return
        self._records[record.name] = record
        index = self._open.get(record.number)
        if index is None:
            return
        if change.reopen:
            self._close(record.number)
            return
        self._apply(index, change)

    def _apply(self, index: MemoryIndex, change: IndexChanged) -> None:
        counted = index.frequencies is not None and change.record.version > index.counted_version
        index.record = change.record
        index.apply(change.blocks, change.metadata, change.dead)
        if counted and change.token_changes is not None and index.frequencies is not None:
            index.frequencies = index.frequencies + change.token_changes
            index.documents += change.documents
        if index.wasteful:
            self._close(change.record.number)
        else:
            self._builder.consider(index)

    def _close(self, number: int) -> None:
        index = self._open.pop(number, None)
        if index is not None:
            index.close()

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do."""
        return self._builder.has_work

    def work(self) -> None:
        """Try the cells of an approximate index, for as long as a few searches take."""
        self._builder.work(lambda index: self._open.get(index.record.number) is index)

    def describe(self, name: str) -> IndexInfo:
        """Describe an index. Raises ErrNotFound."""
        record = self.record(name)
        options, index = record.options, self._open.get(record.number)
        return IndexInfo(
            name=record.name,
            dimension=options.dimension,
            distance=options.distance,
            model=options.model,
            keyword=options.keyword,
            fields=options.fields,
            approximate=options.approximate,
            length=record.length,
            version=record.version,
            keyword_lag=self._keyword.lag[record.number],
            memory=0 if index is None else index.nbytes,
            created_ms=record.created_ms,
            exact=index is None or index.cells is None,
            recall=None if index is None or index.cells is None else index.cells.recall,
            source=record.source,
        )

    def describe_all(self) -> list[IndexInfo]:
        """Describe all indexes in the order of their names."""
        return [self.describe(name) for name in sorted(self._records)]

    @property
    def items(self) -> int:
        """The number of items of all indexes."""
        return sum(record.length for record in self._records.values())
