"""One index in memory: its rows as the scan reads them, and the columns of its filters. Derived from the database.

Positions are those of the rows in ascending order of their numbers. A deleted row keeps its position until the index is
opened again.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.filter_language import Filter, decode_metadata, parse_filter
from lakehouse.services.retrieval.child.cells import Cells
from lakehouse.services.retrieval.child.filters import Column, select, value_of
from lakehouse.services.retrieval.child.growing import Growing
from lakehouse.services.retrieval.child.products import Pack, PackedRows
from lakehouse.services.retrieval.child.quantization import Quantized, join_vectors, quantize, to_search_space
from lakehouse.services.retrieval.child.row_files import Block, FileFloats, MemoryFloats, RowFiles
from lakehouse.services.retrieval.child.scan import Mask, Positions, Rows
from lakehouse.services.retrieval.child.store import IndexRecord, find_record, read_rows, select_by_rows

logger = logging.getLogger("lakehouse.retrieval")

MAX_COLUMNS = 32
"""Columns of fields that the index does not declare, at most, and such fields of one filter.

The column that was used longest ago is dropped."""
LOAD_SLICE = 4096
MIN_DEAD = 1024


class MemoryIndex:
    """An open index."""

    def __init__(self, record: IndexRecord, pack: Pack, floats: MemoryFloats | FileFloats) -> None:
        self.record = record
        self.packed = PackedRows(record.options.dimension, pack)
        self.floats = floats
        self.cells: Cells | None = None
        """The cells of an approximate search, if it pays."""
        self.cells_tried = 0
        """The number of rows of the cells that were made last, whether they pay or not."""
        self.counted_version = 0
        """The version of the index at which tokens were counted for the first time."""
        self.documents = 0
        """The number of items with tokens, and in how many of them each token is; None before it is asked for."""
        self.frequencies: NDArray[np.int64] | None = None
        self._rows = Growing(np.int64)
        self._scale, self._error, self._norm = Growing(np.float32), Growing(np.float32), Growing(np.float32)
        self._alive, self._usable = Growing(np.bool_), Growing(np.bool_)
        self._columns: OrderedDict[str, Column] = OrderedDict()
        self._blocked: Positions | None = None
        self._dead = 0

    @property
    def length(self) -> int:
        """The number of items."""
        return len(self._rows.view) - self._dead

    @property
    def nbytes(self) -> int:
        """The memory of the index."""
        columns = sum(column.nbytes for column in self._columns.values())
        cells = 0 if self.cells is None else self.cells.nbytes
        return self.packed.nbytes + self.floats.nbytes + 22 * len(self._rows.view) + columns + cells

    @property
    def wasteful(self) -> bool:
        """Whether so many rows are deleted that the index should be opened again."""
        return self._dead > max(MIN_DEAD, self.length)

    @property
    def last_row(self) -> int:
        """The number of the newest row; -1 without rows."""
        return int(self._rows.view[-1]) if len(self._rows.view) else -1

    def append(self, rows: NDArray[np.int64], quantized: Quantized, present: Mask, alive: Mask) -> None:
        """Add rows without their floats."""
        self.packed.append(quantized.codes)
        self._rows.append(rows)
        self._scale.append(quantized.scale)
        self._error.append(quantized.error)
        self._norm.append(quantized.norm)
        self._alive.append(alive)
        self._usable.append(alive & present)
        self._dead += int(np.count_nonzero(~alive))
        self._blocked = None

    def apply(self, blocks: Sequence[Block], metadata: Sequence[bytes], dead: NDArray[np.int64]) -> None:
        """Take in what a committed transaction has added and deleted. Rows that are there already are left out."""
        for block in blocks:
            if len(block.rows) and int(block.rows[0]) > self.last_row:
                self.floats.append(block.vectors)
                self.append(block.rows, block.quantized, block.present, np.ones(len(block.rows), np.bool_))
                self._extend_columns(metadata[: len(block.rows)])
            metadata = metadata[len(block.rows) :]
        positions, known = self.locate(dead)
        positions = positions[known]
        self._alive.view[positions] = False
        self._usable.view[positions] = False
        self._dead += len(positions)
        self._blocked = None

    def _extend_columns(self, metadata: Sequence[bytes]) -> None:
        if self._columns:
            decoded = [decode_metadata(document) for document in metadata]
            for field, column in self._columns.items():
                column.append([value_of(document, field) for document in decoded])

    def locate(self, rows: NDArray[np.int64]) -> tuple[Positions, Mask]:
        """The positions of rows, and which of the rows are items of this index."""
        view = self._rows.view
        if not len(view):
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
        positions = np.minimum(np.searchsorted(view, rows), len(view) - 1)
        return positions, (view[positions] == rows) & self._alive.view[positions]

    def rows_at(self, positions: Positions) -> NDArray[np.int64]:
        """The row numbers at these positions."""
        found: NDArray[np.int64] = self._rows.view[positions]
        return found

    def has_vector(self, positions: Positions) -> Mask:
        """Which of the rows at these positions have a vector."""
        found: Mask = self._usable.view[positions]
        return found

    def rows_to_scan(self) -> Rows:
        """What a scan reads."""
        if self._blocked is None:
            self._blocked = np.flatnonzero(~self._usable.view)
        return Rows(
            self.record.options.distance,
            self.packed,
            self.floats,
            self._scale.view,
            self._error.view,
            self._norm.view,
            self._usable.view,
            self._blocked,
        )

    def select(self, document: bytes, connection: sqlite3.Connection, check: Callable[[], None]) -> Mask | None:
        """The items that pass a filter, by position; None if all do. Raises ErrBadRequest."""
        parsed: Filter | None = parse_filter(document)
        if parsed is None:
            return None
        self._load_columns(parsed.fields, connection, check)
        return self._alive.view & select(parsed, self._columns.__getitem__, len(self._rows.view))

    def _load_columns(self, fields: frozenset[str], connection: sqlite3.Connection, check: Callable[[], None]) -> None:
        """Have the columns of the fields of one filter."""
        if len(fields - self.record.options.fields.keys()) > MAX_COLUMNS:
            raise ErrBadRequest(
                f"`filter` has more than {MAX_COLUMNS} fields that the index does not declare", field="filter"
            )
        missing = [field for field in fields if field not in self._columns]
        if missing:
            self._build_columns(missing, connection, check)
        for field in fields:
            self._columns.move_to_end(field)
        for field in [field for field in self._columns if field not in self.record.options.fields][:-MAX_COLUMNS]:
            del self._columns[field]

    def _build_columns(self, fields: Sequence[str], connection: sqlite3.Connection, check: Callable[[], None]) -> None:
        """Build columns in one scan of the metadata."""
        columns = {field: Column() for field in fields}
        for field, column in columns.items():
            column.append([value_of({}, field)] * len(self._rows.view))
        cursor = connection.execute(
            "SELECT row, meta FROM items WHERE number = ? AND meta != x''", (self.record.number,)
        )
        while part := cursor.fetchmany(LOAD_SLICE):
            check()
            positions, known = self.locate(np.array([row for row, _ in part], np.int64))
            values: dict[str, list[object]] = {field: [] for field in fields}
            for is_known, (_, metadata) in zip(known.tolist(), part, strict=True):
                if is_known:
                    decoded = decode_metadata(metadata)
                    for field in fields:
                        values[field].append(value_of(decoded, field))
            for field, column in columns.items():
                column.put(positions[known], values[field])
        self._columns.update(columns)

    def count_tokens(self, connection: sqlite3.Connection, vocabulary: int) -> None:
        """Count in how many items each token is, if that is not known yet."""
        if self.frequencies is not None:
            return
        frequencies, documents = np.zeros(vocabulary, np.int64), 0
        connection.execute("BEGIN")
        try:
            self.counted_version = find_record(connection, self.record.name).version
            cursor = connection.execute("SELECT toks FROM items WHERE number = ?", (self.record.number,))
            while part := cursor.fetchmany(LOAD_SLICE):
                flat = np.frombuffer(b"".join(toks for (toks,) in part), "<u2")
                frequencies += np.bincount(flat, minlength=vocabulary)
                documents += sum(bool(toks) for (toks,) in part)
        finally:
            connection.execute("COMMIT")
        self.frequencies, self.documents = frequencies, documents

    def close(self) -> None:
        """Close its file."""
        self.floats.close()


def open_index(connection: sqlite3.Connection, record: IndexRecord, folder: Path, pack: Pack) -> MemoryIndex:
    """Open an index, from its derived files if it has them."""
    live = read_rows(connection, record.number)
    if record.filed:
        try:
            return _open_files(record, folder, pack, live)
        except (OSError, ValueError) as error:
            logger.warning(
                "the files of the index %r are not usable, its vectors are read again: %s", record.name, error
            )
    index = MemoryIndex(record, pack, MemoryFloats(record.options.dimension))
    for start in range(0, len(live), LOAD_SLICE):
        for block in load_blocks(connection, record, live[start : start + LOAD_SLICE].tolist()):
            index.floats.append(block.vectors)
            index.append(block.rows, block.quantized, block.present, np.ones(len(block.rows), np.bool_))
    return index


def _open_files(record: IndexRecord, folder: Path, pack: Pack, live: NDArray[np.int64]) -> MemoryIndex:
    files = RowFiles(folder, record.number, record.generation, record.options.dimension)
    rows, quantized, present = files.read_codes(record.filed)
    alive = np.isin(rows, live, assume_unique=True)
    if int(np.count_nonzero(alive)) != len(live):
        raise ValueError("they lack rows of the database")
    index = MemoryIndex(record, pack, files.open_floats())
    index.append(rows, quantized, present, alive)
    return index


def load_blocks(connection: sqlite3.Connection, record: IndexRecord, rows: Sequence[int]) -> list[Block]:
    """Read items of an index from the database, in the order of their rows."""
    found = sorted(select_by_rows(connection, "row, vec", rows))
    return [make_block(record, [row for row, _ in found], [vec for _, vec in found])] if found else []


def make_block(record: IndexRecord, rows: Sequence[int], vectors: Sequence[bytes]) -> Block:
    """Make what is compared out of given vectors; an empty one is an item without a vector."""
    given, present = join_vectors(vectors, record.options.dimension)
    space = to_search_space(given, record.options.distance)
    return Block(np.array(rows, np.int64), quantize(space), space, present)
