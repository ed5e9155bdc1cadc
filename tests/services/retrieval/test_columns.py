"""The columns of an open index: those that one filter lacks are made in one scan, and only so many at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from lakehouse.core.errors import ErrBadRequest
from lakehouse.services.contracts.retrieval import IndexOptions
from lakehouse.services.retrieval.child import store
from lakehouse.services.retrieval.child.index import MAX_COLUMNS, MemoryIndex, open_index
from lakehouse.services.retrieval.child.products import select_pack
from lakehouse.services.retrieval.child.store import IndexRecord
from tools.kit.retrieval_engine import vector

ROWS = 50
DECLARED = [f"declared{at}" for at in range(5)]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database whose row n has the number n in each of the fields, the last row no metadata."""
    with closing(store.open_database(tmp_path / store.DATABASE, writer=True)) as connection:
        for row in range(ROWS):
            fields = dict.fromkeys([*DECLARED, *(f"f{at}" for at in range(MAX_COLUMNS + 1))], row)
            metadata = msgspec.json.encode(fields) if row < ROWS - 1 else b""
            values = (row, f"id{-row}", metadata, vector(1, row))
            connection.execute("INSERT INTO items VALUES(?, 1, ?, '', x'', ?, x'', NULL, ?)", values)
        yield connection


@pytest.fixture
def index(connection: sqlite3.Connection, tmp_path: Path) -> MemoryIndex:
    record = IndexRecord(
        number=1,
        name="a",
        options=IndexOptions(name="a", dimension=2, fields=dict.fromkeys(DECLARED, "int")),
        version=1,
        length=ROWS,
        source=b"",
        created_ms=0,
        generation=0,
        filed=0,
    )
    return open_index(connection, record, tmp_path, select_pack()[1])


def select(index: MemoryIndex, connection: sqlite3.Connection, fields: list[str]) -> list[int]:
    """The rows that have less than 3 in all fields, with a filter whose parts are nested."""
    parts: list[object] = [{field: {"lt": 3}} for field in fields]
    document = msgspec.json.encode({"and": [{"not": {"not": {"and": parts[:1]}}}, *parts[1:]]})
    mask = index.select(document, connection, lambda: None)
    assert mask is not None
    return mask.nonzero()[0].tolist()


def test_the_columns_of_a_filter_are_made_in_one_scan(index: MemoryIndex, connection: sqlite3.Connection) -> None:
    fields = [*DECLARED, *(f"f{at}" for at in range(MAX_COLUMNS))]
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    assert select(index, connection, fields) == [0, 1, 2]
    assert len(statements) == 1
    assert select(index, connection, fields) == [0, 1, 2]
    assert len(statements) == 1, "the columns are kept"
    assert select(index, connection, [f"f{MAX_COLUMNS}", *fields[:-1]]) == [0, 1, 2]
    assert len(statements) == 2, "only the new column is made, in place of the one that no filter used"
    assert index.select(b'{"f1":{"exists":false}}', connection, lambda: None).nonzero()[0].tolist() == [ROWS - 1]  # type: ignore[union-attr]


def test_a_filter_of_too_many_undeclared_fields_is_refused(index: MemoryIndex, connection: sqlite3.Connection) -> None:
    before = index.nbytes
    with pytest.raises(ErrBadRequest, match="more than 32 fields that the index does not declare") as caught:
        select(index, connection, [f"f{at}" for at in range(MAX_COLUMNS + 1)])
    assert caught.value.field == "filter"
    assert index.nbytes == before
    assert select(index, connection, ["f0"] * 100) == [0, 1, 2]
