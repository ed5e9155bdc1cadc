"""A full disk: no write of a transaction's group is left, and the keyword index stays and catches up when there is room."""

from __future__ import annotations

import os
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from lakehouse.services.contracts.retrieval import IndexOptions, Item
from lakehouse.services.retrieval.child import keyword, store
from lakehouse.services.retrieval.child.keyword_writer import RETRY, KeywordWriter, open_keyword_writer
from lakehouse.services.retrieval.child.pending import Pending
from lakehouse.services.retrieval.child.texts import TextModel
from lakehouse.services.retrieval.child.transactions import Transactions
from lakehouse.services.retrieval.child.writer import Writer
from lakehouse.services.retrieval.messages import FAILED, OK, AnyCall, CreateIndex, Failure, Write
from tools.kit.lake_crashes.service import find_descendants
from tools.kit.retrieval_engine import vector

SPARE_PAGES = 8
FULL = 40_000
"""Bytes of the largest file on what these tests call a full disk: SQLite's file of locks has 32 kB."""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(store.open_database(tmp_path / store.DATABASE, writer=True)) as connection:
        yield connection


def make_writer(connection: sqlite3.Connection, folder: Path) -> tuple[Writer, KeywordWriter]:
    rows = folder / "rows"
    rows.mkdir(exist_ok=True)
    transactions = Transactions(connection, rows, TextModel("", ""))
    words = open_keyword_writer(folder / "keywords", connection, transactions.sequence)
    return Writer(connection, rows, transactions, words, lambda _: None), words


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
    writer, words = make_writer(connection, tmp_path)
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
    words.keyword.close()


@pytest.fixture(params=["tantivy", "fts5"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine of the keyword index, as it is chosen in production."""
    if request.param == "fts5":
        monkeypatch.setattr(keyword, "missing_modules", lambda *names: list(names))
    return str(request.param)


@contextmanager
def full_disk() -> Iterator[None]:
    """Files cannot grow, those of processes below this one either: what the kernel refuses on any file system."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    set_limit((FULL, limit[1]))
    try:
        yield
    finally:
        set_limit(limit)


def set_limit(limit: tuple[int, int]) -> None:
    for pid in (os.getpid(), *(process.pid for process in find_descendants(os.getpid()))):
        with suppress(ProcessLookupError):  # of another test, and just ended
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


def find(writer: KeywordWriter, text: str) -> list[int]:
    return sorted(int(row) for row in writer.keyword.search(text, [1], 9)[0])


def commit_keywords(writer: KeywordWriter, connection: sqlite3.Connection) -> int | None:
    """Whatever is due, as if enough time had passed."""
    return writer.commit_if_due(connection, time.monotonic() + 60)


def add_text(writer: Writer, name: str, text: str) -> None:
    items = [Item(id=name, vector=vector(1, 1), text=text)]
    assert [body[:1] for body in write(writer, Write(index="a", items=items))] == [OK]


LONG = " ".join(f"w{number * 7919 % 100_003:x}" for number in range(30_000))
"""Words that need more room than a file has."""


def test_words_stay_on_a_full_disk_and_new_ones_follow_when_there_is_room(
    engine: str, connection: sqlite3.Connection, tmp_path: Path
) -> None:
    writer, words = make_writer(connection, tmp_path)
    assert words.keyword.engine == engine
    write(writer, CreateIndex(options=IndexOptions(name="a", dimension=2)))
    add_text(writer, "kept", "an old lake")
    assert commit_keywords(words, connection) == 1
    add_text(writer, "new", f"a new lake {LONG}")
    for _ in range(2):
        with full_disk():
            assert commit_keywords(words, connection) is None
        assert (words.lag[1], find(words, "lake")) == (1, [1])
        assert RETRY - 1 < (words.wait_seconds() or 0) <= RETRY
    add_text(writer, "later", "a later lake")  # the database takes it, the words wait
    assert write(writer, Write(index="a", delete_ids=["kept"]))[0][:1] == OK
    assert (words.lag[1], find(words, "lake")) == (2, [1])
    assert commit_keywords(words, connection) == 4
    assert (words.lag.total(), find(words, "lake"), find(words, "old")) == (0, [2, 3], [])
    add_text(writer, "last", "a last lake")
    assert commit_keywords(words, connection) == 5
    assert find(words, "lake") == [2, 3, 5]
    words.keyword.close()


def test_a_start_on_a_full_disk_keeps_the_keyword_index(
    engine: str, connection: sqlite3.Connection, tmp_path: Path
) -> None:
    writer, words = make_writer(connection, tmp_path)
    write(writer, CreateIndex(options=IndexOptions(name="a", dimension=2)))
    add_text(writer, "kept", "an old lake")
    assert commit_keywords(words, connection) == 1
    add_text(writer, "late", f"a late lake {LONG}")
    words.keyword.close()
    with full_disk():
        _, words = make_writer(connection, tmp_path)
        assert (words.keyword.engine, words.lag[1], find(words, "lake")) == (engine, 1, [1])
    assert commit_keywords(words, connection) == 2
    assert (words.lag.total(), find(words, "lake")) == (0, [1, 2])
    words.keyword.close()
