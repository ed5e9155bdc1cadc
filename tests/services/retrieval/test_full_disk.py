"""A transaction that SQLite rolls back as a whole: no write of its group is left, and each of them is told."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from lakehouse.services.contracts.retrieval import IndexOptions, Item
from lakehouse.services.retrieval.child import store
from lakehouse.services.retrieval.child.keyword_writer import open_keyword_writer
from lakehouse.services.retrieval.child.pending import Pending
from lakehouse.services.retrieval.child.texts import TextModel
from lakehouse.services.retrieval.child.transactions import Transactions
from lakehouse.services.retrieval.child.writer import Writer
from lakehouse.services.retrieval.messages import FAILED, OK, AnyCall, CreateIndex, Failure, Write
from tools.kit.retrieval_engine import vector

SPARE_PAGES = 8


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(store.open_database(tmp_path / store.DATABASE, writer=True)) as connection:
        yield connection


def make_writer(connection: sqlite3.Connection, folder: Path) -> Writer:
    rows = folder / "rows"
    rows.mkdir()
    transactions = Transactions(connection, rows, TextModel("", ""))
    keyword = open_keyword_writer(folder / "keywords", connection, transactions.sequence)
    return Writer(connection, rows, transactions, keyword, lambda _: None)


def write(writer: Writer, *calls: AnyCall) -> list[bytes]:
    """The bodies of the replies to one group of calls."""
    outcomes = writer.write([Pending(number, b"", call) for number, call in enumerate(calls)])
    return [outcome.body or b"" for outcome in outcomes]


def add(name: str, count: int = 1) -> Write:
    items = [
        Item(id=f"{name}{at}", vector=vector(1, at), metadata=b'{"a":"%s"}' % (b"x" * 1000)) for at in range(count)
    ]
    return Write(index="a", items=items)


def test_a_full_disk_fails_the_whole_group_and_leaves_none_of_it(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    writer = make_writer(connection, tmp_path)
    write(writer, CreateIndex(options=IndexOptions(name="a", dimension=2, keyword=False)), add("before"))
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + SPARE_PAGES}")
    bodies = write(writer, add("small"), add("large", 1000), add("late"))
    assert {body[:1] for body in bodies} == {FAILED}
    assert {msgspec.msgpack.decode(body[1:], type=Failure).code for body in bodies} == {"ErrInsufficientStorage"}
    assert not connection.in_transaction
    assert connection.execute("SELECT id FROM items").fetchall() == [("before0",)]
    assert store.find_record(connection, "a").length == 1
    connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    assert [body[:1] for body in write(writer, add("small"), add("large", 1000), add("late"))] == [OK] * 3
    assert store.find_record(connection, "a").length == 1003
