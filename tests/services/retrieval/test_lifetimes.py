"""What outlives what: an acknowledged write its process, a cancelled call nothing, a child its requests."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio

from lakehouse.core.errors import ErrUnavailable
from lakehouse.services.contracts.retrieval import IndexOptions, Item, SearchQuery, decode_hits
from lakehouse.services.embedding.names import WORDLLAMA
from lakehouse.services.retrieval.child.transactions import FILED_BYTES
from lakehouse.services.retrieval.client import LakeRetrieval
from tools.kit.child_processes import wait_until
from tools.kit.matrices import spread
from tools.kit.retrieval_engine import cpu_seconds, open_engine, pid_of, vector, wait_idle

DIMENSION = 4096
FILED = FILED_BYTES // (4 * DIMENSION)
"""Rows from which an index of this dimension has files."""


def random_vectors(count: int, seed: int) -> list[bytes]:
    """Vectors of random numbers."""
    sample = np.random.default_rng(seed).standard_normal((count, DIMENSION), np.float32)
    return [one.tobytes() for one in sample]


async def make_index(engine: LakeRetrieval, name: str, vectors: list[bytes]) -> None:
    await engine.create_index(IndexOptions(name=name, dimension=DIMENSION))
    items = [Item(id=str(at), vector=one, metadata=b'{"n":%d}' % at) for at, one in enumerate(vectors)]
    await engine.add(name, items)


async def search_all(engine: LakeRetrieval, name: str, queries: list[bytes]) -> list[bytes]:
    return [(await engine.search(name, SearchQuery(vector=query, k=20))).results for query in queries]


def check_nearest(results: bytes, item: str) -> None:
    """The first result is this item, whose vector is the query's; how its product is rounded depends on the processor."""
    hit = decode_hits(results)[0]
    assert hit.id == item
    assert hit.distance == pytest.approx(0, abs=1e-6)


async def test_answers_are_the_same_bytes_after_the_process_was_killed(tmp_path: Path) -> None:
    queries = random_vectors(5, seed=1)
    async with open_engine(tmp_path / "lake") as engine:
        await make_index(engine, "small", random_vectors(300, seed=2))
        await make_index(engine, "filed", random_vectors(FILED + 300, seed=3))
        await engine.add("filed", [Item(id="5", vector=queries[0]), Item(id="late", vector=queries[1])])
        await engine.delete_items("filed", ids=["6", "7"])
        names = ("small", "filed")
        before = [await search_all(engine, name, queries) for name in names]
        check_nearest(before[1][1], "late")
        os.kill(pid_of(engine), signal.SIGKILL)
        await wait_until(lambda: engine.process.pid is None, seconds=10)
        assert [await search_all(engine, name, queries) for name in names] == before
        files = {file.suffix for file in (tmp_path / "lake/vectors/rows").iterdir()}
        assert files == {".codes", ".floats"}
    async with open_engine(tmp_path / "lake") as engine:
        assert [await search_all(engine, name, queries) for name in names] == before


@pytest.mark.parametrize("damage", spread(["truncated", "missing", "longer"], 3))
async def test_derived_files_are_made_again_or_cut(tmp_path: Path, damage: str) -> None:
    queries = random_vectors(3, seed=4)
    async with open_engine(tmp_path / "lake") as engine:
        await make_index(engine, "filed", random_vectors(FILED + 10, seed=5))
        before = await search_all(engine, "filed", queries)
    for file in (tmp_path / "lake/vectors/rows").iterdir():
        if damage == "missing":
            file.unlink()
        elif damage == "truncated":
            os.truncate(file, file.stat().st_size // 2)
        else:
            with file.open("ab") as stream:  # of a transaction that did not commit
                stream.write(b"x" * 5000)
    async with open_engine(tmp_path / "lake") as engine:
        assert await search_all(engine, "filed", queries) == before
        await engine.add("filed", [Item(id="more", vector=queries[0])])
        check_nearest((await search_all(engine, "filed", queries[:1]))[0], "more")


@pytest.mark.extended
async def test_files_are_written_anew_when_most_rows_are_gone(tmp_path: Path) -> None:
    vectors = random_vectors(FILED + 500, seed=6)
    async with open_engine(tmp_path / "lake") as engine:
        await make_index(engine, "filed", vectors)
        for turn in range(2):
            items = [Item(id=str(at), vector=vectors[at - turn]) for at in range(turn, len(vectors))]
            await engine.add("filed", items)
        found = (await engine.search("filed", SearchQuery(vector=vectors[100], k=1))).decode()
        assert found[0].id == "101"
        await engine.delete_items("filed", where=b'{"n":{"gte":100}}')
        assert (await engine.get_index("filed")).length == 100
        assert len((await engine.search("filed", SearchQuery(vector=vectors[3], k=1000))).decode()) == 100
        assert list((tmp_path / "lake/vectors/rows").iterdir()) == []


async def test_words_are_found_after_a_kill_before_their_commit(tmp_path: Path) -> None:
    async with open_engine(tmp_path / "lake") as engine:
        await engine.create_index(IndexOptions(name="texts", model=WORDLLAMA))
        await engine.add("texts", [Item(id="old", text="an early word"), Item(id="gone", text="an early word")])
        query = SearchQuery(text="early late word", mode="keyword")
        while (await engine.get_index("texts")).keyword_lag:
            await trio.sleep(0.02)
        await engine.add("texts", [Item(id="new", text="a late word")], delete_ids=["gone"])
        os.kill(pid_of(engine), signal.SIGKILL)  # 200 ms have not passed since the last commit
        await wait_until(lambda: engine.process.pid is None, seconds=10)
        assert {hit.id for hit in (await engine.search("texts", query)).decode()} == {"old", "new"}


async def test_the_words_of_many_texts_are_found_after_their_index_was_lost(tmp_path: Path) -> None:
    async with open_engine(tmp_path / "lake") as engine:
        await engine.create_index(IndexOptions(name="texts", dimension=2))
        await engine.add("texts", [Item(id=str(at), vector=vector(1, at), text=f"word {at}") for at in range(6000)])
    shutil.rmtree(tmp_path / "lake/vectors/keywords")
    async with open_engine(tmp_path / "lake") as engine:
        while (await engine.get_index("texts")).keyword_lag:
            await trio.sleep(0.02)
        found = (await engine.search("texts", SearchQuery(text="5999", mode="keyword"))).decode()
        assert [hit.id for hit in found] == ["5999"]


async def test_calls_in_a_process_that_ends_are_told_when_to_come_again(tmp_path: Path) -> None:
    async with open_engine(tmp_path / "lake") as engine:
        await engine.create_index(IndexOptions(name="texts", model=WORDLLAMA))
        failures: list[ErrUnavailable] = []

        async def add(name: str) -> None:
            with pytest.raises(ErrUnavailable) as caught:
                await engine.add("texts", [Item(id=f"{name}{at}", text=f"some words {at}") for at in range(20_000)])
            failures.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(add, "a")
            nursery.start_soon(add, "b")
            await wait_until(lambda: engine.process.waiting == 2, seconds=10)
            await trio.sleep(0.1)
            os.kill(pid_of(engine), signal.SIGKILL)
        assert [failure.retry_after for failure in failures] == [1.0, 1.0]
        assert (await engine.get_index("texts")).length == 0
        assert engine.process.started == 2


async def test_a_process_that_does_not_start_is_an_answer_and_is_tried_again(tmp_path: Path) -> None:
    async with open_engine(tmp_path / "lake") as engine:
        database = tmp_path / "lake/vectors/index.sqlite"
        database.write_bytes(b"no database" * 1000)
        for _ in range(2):
            with pytest.raises(ErrUnavailable) as caught:
                await engine.list_indexes()
            assert caught.value.retry_after
        database.unlink()
        await trio.sleep(0.3)  # the back-off
        assert await engine.list_indexes() == []


BUSY, ROWS = 50_000, 3_000


async def fill_for_leaving(engine: LakeRetrieval, texts: list[str]) -> None:
    """An index of texts that is empty, one that has some of them, and one of large vectors."""
    for name in ("texts", "words"):
        await engine.create_index(IndexOptions(name=name, model=WORDLLAMA))
    await engine.add("words", [Item(id=str(at), text=text) for at, text in enumerate(texts[:2000])])
    await engine.create_index(IndexOptions(name="filed", dimension=DIMENSION))
    for start in range(0, ROWS, 1000):
        vectors = enumerate(random_vectors(1000, seed=start), start)
        await engine.add("filed", [Item(id=str(at), vector=one, metadata=b'{"a":1}') for at, one in vectors])


@pytest.mark.alone
async def test_cancelled_calls_leave_the_process_idle(tmp_path: Path) -> None:
    texts = [f"{at} words of a longer text with the number {at * 7919}" for at in range(BUSY)]
    async with open_engine(tmp_path / "lake") as engine:
        await fill_for_leaving(engine, texts)
        work: dict[str, list[Callable[[], Awaitable[object]]]] = {
            "add": [partial(engine.add, "texts", [Item(id=str(at), text=text) for at, text in enumerate(texts)])],
            "embed": [partial(engine.embed, texts)],
            "search": [
                partial(engine.search, "filed", SearchQuery(vector=query, k=1000))
                for query in random_vectors(500, seed=9)
            ],
            "hybrid": [
                partial(engine.search, "words", SearchQuery(text=f"longer words {at}", mode="hybrid", k=1000))
                for at in range(100)
            ],
            "delete": [partial(engine.delete_items, "filed", where=b'{"a":{"gte":0}}')],
        }
        for name, calls in work.items():
            spent = await leave(engine, calls, after=0.15 if name != "delete" else 0.02)
            assert spent < 0.1, name
            assert (await engine.get_index("texts")).length == 0
            assert (await engine.get_index("filed")).length in ((0, ROWS) if name == "delete" else (ROWS,))


async def leave(engine: LakeRetrieval, calls: list[Callable[[], Awaitable[object]]], *, after: float) -> float:
    """Cancel calls so many seconds after all have been sent. Returns the processor time that is used after that."""
    pid = pid_of(engine)
    await wait_idle(pid)
    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(call)
        await wait_until(lambda: engine.process.waiting == len(calls), seconds=10)
        await trio.sleep(after)
        nursery.cancel_scope.cancel()
    assert engine.process.waiting == 0
    spent = cpu_seconds(pid)
    await wait_idle(pid)
    return cpu_seconds(pid) - spent


async def test_the_process_runs_in_its_own_folder_without_a_network(tmp_path: Path) -> None:
    async with open_engine(tmp_path / "lake") as engine:
        await engine.list_indexes()
        assert Path(f"/proc/{pid_of(engine)}/cwd").exists()
        with sqlite3.connect(tmp_path / "lake/vectors/index.sqlite") as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()
    assert sorted(path.name for path in (tmp_path / "lake/vectors").iterdir() if "sqlite-" not in path.name) == [
        "index.sqlite",
        "keywords",
        "rows",
    ]


async def test_nothing_is_started_before_the_first_call(tmp_path: Path) -> None:
    async with open_engine(tmp_path / "lake") as engine:
        assert (await engine.stats()).indexes == 0
        assert engine.process.pid is None
        readings = {gauge.family.name: list(gauge.read()) for gauge in engine.gauges()}
        assert readings["retrieval_processes"] == [((), 0)]
        await engine.create_index(IndexOptions(name="a", dimension=2))
        await engine.add("a", [Item(id="x", vector=vector(1, 0))])
        assert (await engine.stats()).items == 1
        readings = {gauge.family.name: list(gauge.read()) for gauge in engine.gauges()}
        assert readings["retrieval_processes"] == [((), 1)]
        assert readings["retrieval_items"] == [((), 1)]
        assert readings["retrieval_memory_bytes"][0][1] > 20e6
