"""The process that writes the keyword index: ended when its work is left, replaced when it was killed, never an orphan."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
import trio

from lakehouse.core.errors import ErrUnavailable
from lakehouse.services.contracts.retrieval import IndexOptions, Item, SearchQuery
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.retrieval.child import store
from lakehouse.services.retrieval.child.changes import KeywordChange
from lakehouse.services.retrieval.child.keyword import KeywordWriterEnded, open_engine
from lakehouse.services.retrieval.child.keyword_writer import RETRY, open_keyword_writer
from lakehouse.services.retrieval.client import LakeRetrieval
from tools.kit.child_processes import is_alive, wait_until
from tools.kit.left_work import make_text
from tools.kit.retrieval_engine import list_forks, pid_of
from tools.kit.retrieval_engine import open_engine as open_retrieval

PART = 500


def make_items(word: str, start: int, count: int) -> list[Item]:
    return [Item(id=f"{word}{at}", text=f"{word} {make_text(at, 20)}") for at in range(start, start + count)]


async def write_on(engine: LakeRetrieval, word: str) -> None:
    """One transaction after another, as in a large sync."""
    start = 0
    while True:
        await engine.add("texts", make_items(word, start, PART), wait_for_words=True)
        start += PART


async def find(engine: LakeRetrieval, word: str) -> int:
    """How many items are found by a word."""
    return len((await engine.search("texts", SearchQuery(text=word, mode="keyword", k=1000))).decode())


async def create_texts(engine: LakeRetrieval) -> None:
    await engine.create_index(IndexOptions(name="texts", model=WORDLLAMA))
    await engine.add("texts", make_items("first", 0, 1), wait_for_words=True)


async def wait_for_merges(pid: int) -> None:
    """Wait until a process has merged for some milliseconds."""
    while not any(map(merges, Path(f"/proc/{pid}/task").iterdir())):
        await trio.sleep(0.001)


def merges(thread: Path) -> bool:
    with suppress(OSError):  # it has ended
        worked = int((thread / "schedstat").read_bytes().split()[0])
        return worked > 2_000_000 and (thread / "comm").read_text().startswith("merge_thread")
    return False


async def test_what_merges_ends_when_its_client_leaves_and_no_word_is_lost(tmp_path: Path) -> None:
    async with open_retrieval(tmp_path / "lake") as engine:
        await create_texts(engine)
        forks, writer = list_forks(pid_of(engine))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_on, engine, "left")
            with trio.fail_after(60):
                await wait_for_merges(writer)
            nursery.cancel_scope.cancel()
        await wait_until(lambda: list_forks(pid_of(engine)) == [forks], seconds=5)
        info = await engine.get_index("texts")
        assert (info.keyword_lag, info.length % PART) == (0, 1)
        assert await find(engine, "left") == min(info.length - 1, 1000)
        await engine.add("texts", make_items("later", 0, 3), wait_for_words=True)
        assert await find(engine, "later") == 3
        assert len(list_forks(pid_of(engine))) == 2


async def test_words_of_another_client_are_found_while_one_leaves_again_and_again(tmp_path: Path) -> None:
    async with open_retrieval(tmp_path / "lake") as engine:
        await create_texts(engine)
        for turn in range(12):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write_on, engine, f"left{turn}")
                await engine.add("texts", make_items(f"kept{turn}", 0, 5), wait_for_words=True)
                assert await find(engine, f"kept{turn}") == 5
                nursery.cancel_scope.cancel()
        assert [await find(engine, f"kept{turn}") for turn in range(12)] == [5] * 12
        assert (await engine.get_index("texts")).keyword_lag == 0


async def test_the_words_of_a_writer_that_is_killed_are_written_by_the_next_one(tmp_path: Path) -> None:
    async with open_retrieval(tmp_path / "lake") as engine:
        await create_texts(engine)
        for turn in range(3):
            await engine.add("texts", make_items(f"early{turn}", 0, 5))
            os.kill(list_forks(pid_of(engine))[1], signal.SIGKILL)
            await engine.add("texts", make_items(f"late{turn}", 0, 5), wait_for_words=True)
            assert (await find(engine, f"early{turn}"), await find(engine, f"late{turn}")) == (5, 5)
        assert engine.process.started == 1


async def test_an_engine_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    async with open_retrieval(tmp_path / "lake") as engine:
        await create_texts(engine)
        pids = list_forks(pid_of(engine))
        assert len(pids) == 2
        os.kill(pid_of(engine), signal.SIGKILL)
        await wait_until(lambda: not any(map(is_alive, pids)), seconds=5)


async def test_an_engine_without_the_process_that_forks_is_replaced(tmp_path: Path) -> None:
    async with open_retrieval(tmp_path / "lake") as engine:
        await create_texts(engine)
        former = pid_of(engine)
        forks, writer = list_forks(former)
        os.kill(forks, signal.SIGKILL)
        await wait_until(lambda: not is_alive(writer), seconds=5)
        with suppress(ErrUnavailable):  # the engine ends before its answer or after it
            await engine.add("texts", make_items("late", 0, 5))
        await wait_until(lambda: engine.process.pid != former, seconds=5)
        assert await find(engine, "late") == 5
        assert engine.process.started == 2


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database with one text, whose row is 7."""
    with closing(store.open_database(tmp_path / store.DATABASE, writer=True)) as connection:
        options = msgspec.json.encode(IndexOptions(name="i", dimension=1))
        connection.execute("INSERT INTO indexes VALUES (1, 'i', ?, 1, 1, x'', 0, 0, 0)", [options])
        connection.execute("INSERT INTO items VALUES (7, 1, 'a', '', x'', x'', x'', 'a lake', x'')")
        yield connection


def test_a_writer_that_is_killed_again_and_again_is_tried_later(
    tmp_path: Path, connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """There may be no memory for it: neither is the index made anew, nor does the engine end."""
    words = open_keyword_writer(tmp_path / "keywords", connection, 7)
    with closing(words.keyword), killed_writers():
        words.apply(KeywordChange(1, dead=[7]), 8)
        assert words.commit_if_due(connection, time.monotonic(), at_once=True) is None
        assert RETRY - 1 < (words.wait_seconds() or 0) <= RETRY
        assert words.commit_if_due(connection, time.monotonic() + RETRY) is None
    assert caplog.text.count("was killed by signal 9") == 1


@contextmanager
def killed_writers() -> Iterator[None]:
    """Kill each process that writes within milliseconds of its start."""
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.001):
            for pid in list_forks(os.getpid())[1:]:
                with suppress(ProcessLookupError):  # it was killed before, and is reaped by now
                    os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_commit_tells_how_its_writer_ended(tmp_path: Path) -> None:
    index = open_engine(tmp_path, from_tantivy=True)
    with closing(index):
        index.add([1], 1, ["a lake"])
        os.kill(list_forks(os.getpid())[1], signal.SIGKILL)
        with pytest.raises(KeywordWriterEnded, match="was killed by signal 9"):
            index.commit(1)
        index.reset()
        index.add([1], 1, ["a lake"])
        index.commit(1)
        index.end_merges()
        index.end_merges()
        index.add([2], 1, ["a lake"])
        index.commit(2)
        assert sorted(index.search("lake", [1], 9)[0].tolist()) == [1, 2]
