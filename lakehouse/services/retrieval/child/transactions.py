"""The writes of the engine, each inside a transaction that the writer thread has begun."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from lakehouse.core.errors import ErrBadRequest, ErrConflict, ErrNotFound
from lakehouse.services.contracts.filter_language import decode_metadata, parse_filter
from lakehouse.services.contracts.retrieval import Item, Merged, Written
from lakehouse.services.retrieval.child import store
from lakehouse.services.retrieval.child.changes import IndexChanged, IndexDeleted, KeywordChange
from lakehouse.services.retrieval.child.index import LOAD_SLICE, load_blocks, make_block
from lakehouse.services.retrieval.child.items import check_batch, check_copied, complete_options, make_other_model
from lakehouse.services.retrieval.child.row_files import Block, RowFiles
from lakehouse.services.retrieval.child.store import IndexRecord
from lakehouse.services.retrieval.child.texts import TextModel
from lakehouse.services.retrieval.messages import CreateIndex, DeleteIndex, Merge, Write

FILED_BYTES = 16 * 2**20
"""Bytes of floats from which an index has derived files: a smaller one opens from the database in 50 ms."""
WRITE_SLICE = 1024
"""Items that are written between two looks at the cancellation."""

Check = Callable[[], None]


class Transactions:
    """Writes to the database of one folder. `check` of each method raises if its call is cancelled."""

    def __init__(self, connection: sqlite3.Connection, folder: Path, model: TextModel) -> None:
        self.keyword_changes: list[KeywordChange] = []
        """What the transaction under way means for the keyword index."""
        self.sequence = store.read_state(connection, "sequence")
        self._connection = connection
        self._folder = folder
        self._model = model

    def create(self, call: CreateIndex) -> IndexChanged:
        """Create an index. Raises ErrConflict, ErrBadRequest."""
        options = complete_options(call.options, self._model)
        try:
            self._connection.execute(
                "INSERT INTO indexes(name, options, version, length, source, created_ms, generation, filed)"
                " VALUES(?, ?, 1, 0, x'', ?, 0, 0)",
                (options.name, msgspec.json.encode(options), int(time.time() * 1000)),
            )
        except sqlite3.IntegrityError:
            raise ErrConflict(f"there is an index {options.name!r} already", field="name") from None
        return IndexChanged(record=store.find_record(self._connection, options.name))

    def delete_index(self, call: DeleteIndex) -> IndexDeleted:
        """Delete an index and its items."""
        record = store.find_record(self._connection, call.index)
        self._connection.execute("DELETE FROM items WHERE number = ?", (record.number,))
        self._connection.execute("DELETE FROM indexes WHERE number = ?", (record.number,))
        if record.options.keyword:
            self._log_gone(record.number, [store.WHOLE_INDEX])
            self.keyword_changes.append(KeywordChange(record.number, index_deleted=True))
        return IndexDeleted(record)

    def write(self, call: Write, check: Check) -> tuple[Written, IndexChanged]:
        """Delete and add items. Raises ErrBadRequest, ErrConflict, ErrNotFound."""
        record = self._find_or_create(call)
        embeds = self._model.embeds(record.options)
        batch = check_batch(record.options, call.items, model=call.model, embeds=embeds, check=check)
        writer = _ItemWriter(self._connection, record, self._model)
        deleted = writer.delete(self._find_deleted(record, call, check), check)
        if call.replace_source:
            ids = {item.id for item in batch}
            rows = self._connection.execute(
                "SELECT row, id FROM items WHERE number = ? AND source = ?", (record.number, call.replace_source)
            ).fetchall()
            deleted += writer.delete([row for row, found in rows if found not in ids], check)
        added, replaced = self._add(writer, batch, call.replace_source, check)
        change = self._finish(writer, added - deleted, call.source_state, check)
        record = change.record
        written = Written(added=added, replaced=replaced, deleted=deleted, length=record.length, version=record.version)
        return written, change

    def _find_or_create(self, call: Write) -> IndexRecord:
        try:
            record = store.find_record(self._connection, call.index)
        except ErrNotFound:
            if call.create is None:
                raise
            return self.create(CreateIndex(options=call.create)).record
        if call.create is not None and call.create.model != record.options.model:
            raise make_other_model(record.options, call.create.model)
        return record

    def _find_deleted(self, record: IndexRecord, call: Write, check: Check) -> list[int]:
        rows = []
        for at, one in enumerate(call.delete_ids):
            if at % 1024 == 0:
                check()
            found = self._connection.execute(
                "SELECT row FROM items WHERE number = ? AND id = ?", (record.number, one)
            ).fetchone()
            rows += [] if found is None else [int(found[0])]
        wanted = parse_filter(call.delete_where)
        if wanted is not None:
            cursor = self._connection.execute("SELECT row, meta FROM items WHERE number = ?", (record.number,))
            while part := cursor.fetchmany(LOAD_SLICE):
                check()
                rows += [row for row, metadata in part if wanted.matches(decode_metadata(metadata))]
        return list(dict.fromkeys(rows))

    def _add(self, writer: _ItemWriter, batch: Sequence[Item], source: str, check: Check) -> tuple[int, int]:
        added = replaced = 0
        for start in range(0, len(batch), WRITE_SLICE):
            items = batch[start : start + WRITE_SLICE]
            vectors = [item.vector for item in items]
            first, self.sequence = self.sequence + 1, self.sequence + len(items)
            known = writer.add(range(first, first + len(items)), items, vectors, source, check)
            added, replaced = added + len(items) - known, replaced + known
        return added, replaced

    def merge(self, call: Merge, check: Check) -> tuple[Merged, list[IndexChanged]]:
        """Copy what the destination lacks. Raises ErrBadRequest, ErrNotFound."""
        source, dest = (store.find_record(self._connection, name) for name in (call.source, call.dest))
        _check_merge(source, dest)
        rows = [
            row
            for (row,) in self._connection.execute(
                "SELECT row FROM items AS s WHERE number = ? AND NOT EXISTS"
                " (SELECT 1 FROM items AS d WHERE d.number = ? AND d.id = s.id) ORDER BY row",
                (source.number, dest.number),
            )
        ]
        writer = _ItemWriter(self._connection, dest, self._model)
        for start in range(0, len(rows), LOAD_SLICE):
            check()
            part = rows[start : start + LOAD_SLICE]
            first, self.sequence = self.sequence + 1, self.sequence + len(part)
            writer.copy(part, range(first, first + len(part)))
        copied = self._finish(writer, len(rows), b"", check)
        changes = [copied]
        if call.clear_source and rows:
            remover = _ItemWriter(self._connection, source, self._model)
            remover.delete(rows, check)
            changes.append(self._finish(remover, -len(rows), b"", check))
        return Merged(merged=len(rows), skipped=source.length - len(rows), length=copied.record.length), changes

    def _finish(self, writer: _ItemWriter, growth: int, source_state: bytes, check: Check) -> IndexChanged:
        """Write what the index is after the write: its files, its record, the entries for the keyword index."""
        check()
        change, connection = writer.change, self._connection
        record = change.record
        change.dead = np.array(sorted(writer.dead), np.int64)
        length, filed, generation = record.length + growth, record.filed, record.generation
        size = length * record.options.dimension * 4
        files = RowFiles(self._folder, record.number, generation, record.options.dimension)
        spare = FILED_BYTES // (4 * record.options.dimension)
        grown = filed + sum(len(block.rows) for block in change.blocks)
        if filed and grown <= 2 * length + spare and files.holds(filed):
            filed = files.append(change.blocks, filed)
        elif filed or size > FILED_BYTES:
            generation, change.reopen = generation + 1, True
            filed = self._file_all(record, generation, check) if size > FILED_BYTES else 0
        connection.execute(
            "UPDATE indexes SET version = version + 1, length = ?, generation = ?, filed = ? WHERE number = ?",
            (length, generation, filed, record.number),
        )
        if source_state:
            connection.execute("UPDATE indexes SET source = ? WHERE number = ?", (source_state, record.number))
        if record.options.keyword and (writer.dead or writer.rows):
            self._log_gone(record.number, writer.dead)
            self.keyword_changes.append(
                KeywordChange(record.number, dead=writer.dead, rows=writer.rows, texts=writer.texts)
            )
        change.record = store.find_record(connection, record.name)
        return change

    def _file_all(self, record: IndexRecord, generation: int, check: Check) -> int:
        files = RowFiles(self._folder, record.number, generation, record.options.dimension)
        rows, filed = store.read_rows(self._connection, record.number), 0
        for start in range(0, len(rows), 4 * LOAD_SLICE):
            blocks: list[Block] = []
            for at in range(start, min(start + 4 * LOAD_SLICE, len(rows)), LOAD_SLICE):
                check()
                blocks += load_blocks(self._connection, record, rows[at : at + LOAD_SLICE].tolist())
            filed = files.append(blocks, filed)
        return filed

    def _log_gone(self, number: int, rows: Sequence[int]) -> None:
        first, self.sequence = self.sequence + 1, self.sequence + len(rows)
        self._connection.executemany(
            "INSERT INTO gone VALUES(?, ?, ?)", [(first + at, number, row) for at, row in enumerate(rows)]
        )


def _check_merge(source: IndexRecord, dest: IndexRecord) -> None:
    if source.number == dest.number:
        raise ErrBadRequest("`dest` must be another index than the source", field="dest")
    for name in ("dimension", "model"):
        ours, theirs = getattr(source.options, name), getattr(dest.options, name)
        if ours != theirs:
            raise ErrBadRequest(f"`dest` has the {name} {theirs!r}, and the source {ours!r}", field="dest")


class _ItemWriter:
    """Writes the items of one index, and collects what a write means for what is derived."""

    def __init__(self, connection: sqlite3.Connection, record: IndexRecord, model: TextModel) -> None:
        self.change = IndexChanged(record=record)
        self.dead: list[int] = []
        self.rows: list[int] = []
        self.texts: list[str] = []
        self._connection = connection
        self._record = record
        self._model = model if model.embeds(record.options) else None

    def delete(self, rows: Sequence[int], check: Check) -> int:
        """Delete items by their rows."""
        for start in range(0, len(rows), store.SLICE):
            check()
            part = rows[start : start + store.SLICE]
            if self._model is not None:
                self._count_tokens([toks for (toks,) in store.select_by_rows(self._connection, "toks", part)], -1)
            self._connection.execute(f"DELETE FROM items WHERE row IN ({','.join('?' * len(part))})", part)
        self.dead += rows
        return len(rows)

    def add(self, rows: Sequence[int], items: Sequence[Item], vectors: list[bytes], source: str, check: Check) -> int:
        """Insert items, and delete those whose ids they have. Returns how many were replaced."""
        number, old = self._record.number, []
        texts: list[str | None] = []
        metadata: list[bytes] = []
        for at, item in enumerate(items):
            if at % 512 == 0:
                check()
            known = self._connection.execute(
                "SELECT row, meta, text FROM items WHERE number = ? AND id = ?", (number, item.id)
            ).fetchone()
            row, old_metadata, old_text = (None, b"", None) if known is None else known
            old += [] if row is None else [int(row)]
            texts.append(old_text if item.text is None else item.text)
            metadata.append(item.metadata or old_metadata)
        self.delete(old, check)
        tokens = self._embed(texts, items, vectors, check)
        self._insert(
            [
                (row, number, item.id, source or item.source, item.digest, meta, toks, text, vector)
                for row, item, meta, toks, text, vector in zip(
                    rows, items, metadata, tokens, texts, vectors, strict=True
                )
            ]
        )
        return len(old)

    def _embed(
        self, texts: Sequence[str | None], items: Sequence[Item], vectors: list[bytes], check: Check
    ) -> list[bytes]:
        """Fill the vectors that the items lack, and return the distinct tokens of each text."""
        if self._model is None:
            return [b""] * len(items)
        tokens = self._model.tokenize([text or "" for text in texts], check)
        lacking = [at for at, vector in enumerate(vectors) if not vector]
        found = self._model.embed([tokens[at] for at in lacking], check)
        for at, vector in zip(lacking, found, strict=True):
            vectors[at] = vector.tobytes() if vector.any() else b""
        return [np.unique(one).astype("<u2").tobytes() if len(one) else b"" for one in tokens]

    def copy(self, rows: Sequence[int], new_rows: Sequence[int]) -> None:
        """Insert copies of other items under new rows. Raises ErrBadRequest for a vector that the index cannot have."""
        columns = "row, id, source, digest, meta, toks, text, vec"
        found = sorted(store.select_by_rows(self._connection, columns, rows))
        check_copied(self._record.options, [row[1] for row in found], [row[-1] for row in found])
        self._insert(
            [(new_row, self._record.number, *rest) for new_row, (_, *rest) in zip(new_rows, found, strict=True)]
        )

    def _insert(self, values: Sequence[tuple]) -> None:  # type: ignore[type-arg]
        self._connection.executemany("INSERT INTO items VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        rows, _, _, _, _, metadata, tokens, texts, vectors = zip(*values, strict=True)
        self.change.blocks.append(make_block(self._record, rows, vectors))
        self.change.metadata += metadata
        self.rows += [row for row, text in zip(rows, texts, strict=True) if text]
        self.texts += [text for text in texts if text]
        if self._model is not None:
            self._count_tokens(tokens, 1)

    def _count_tokens(self, tokens: Sequence[bytes], sign: int) -> None:
        vocabulary = len(self._model.load().token_vectors) if self._model is not None else 0
        flat: NDArray[np.uint16] = np.frombuffer(b"".join(tokens), "<u2")
        counts = sign * np.bincount(flat, minlength=vocabulary)
        before = self.change.token_changes
        self.change.token_changes = counts if before is None else before + counts
        self.change.documents += sign * sum(bool(one) for one in tokens)
