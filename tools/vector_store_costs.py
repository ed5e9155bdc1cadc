"""What do indexes in PostgreSQL cost, and how soon does the server end what a client has left?

    python -m tools.vector_store_costs [ROUNDS] [ITEMS]

Starts PostgreSQL with pgvector from its package (the group `scaleout`) on loopback. Its engine and one over a folder
are in this process and are measured in turn. Prints medians and their ratio for writes and searches over ITEMS items of
256 dimensions, the part of the true ten nearest that a search behind a filter of 1 % finds, then how long the server's
processor time goes on after a search, a write and a merge were cancelled in the middle.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from lakehouse.services.contracts.retrieval import IndexOptions, Item, RetrievalEngine, SearchQuery
from tools.kit.processor_time import read_cpu, wait_until_idle
from tools.kit.retrieval_engine import open_engine, open_store_engine
from tools.kit.scaleout import find_missing
from tools.kit.scaleout.postgres import Postgres, open_postgres

DIMENSION = 256
BATCH = 1000
WORDS = [f"word{number}" for number in range(5000)]
NAME = "costs"

Work = Callable[[], Awaitable[object]]


def make_items(start: int, count: int, chance: random.Random) -> list[Item]:
    """Items with a vector, a text of 40 words, most of them common, and a group of a hundredth of all."""
    return [
        Item(
            id=f"i{number}",
            vector=array("f", [chance.gauss(0, 1) for _ in range(DIMENSION)]).tobytes(),
            text=" ".join(WORDS[int(len(WORDS) * chance.random() ** 3)] for _ in range(40)),
            metadata=b'{"group":%d}' % (number % 100),
        )
        for number in range(start, start + count)
    ]


async def measure(name: str, rounds: int, folder: Work, store: Work) -> None:
    """Do both in turn, and print the medians in milliseconds and their ratio."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for work, found in zip((folder, store), times, strict=True):
            began = time.perf_counter()
            await work()
            if number:
                found.append((time.perf_counter() - began) * 1000)
    one, other = (statistics.median(found) for found in times)
    print(f"{name:36} folder {one:8.2f} ms   PostgreSQL {other:8.2f} ms   x {other / one:.1f}", flush=True)


async def fill(engine: RetrievalEngine, name: str, items: int) -> float:
    """Fill an index; the seconds that it took."""
    await engine.create_index(IndexOptions(name=name, dimension=DIMENSION, fields={"group": "int"}))
    chance, seconds = random.Random(1), 0.0
    for start in range(0, items, BATCH):
        batch = make_items(start, min(BATCH, items - start), chance)
        began = time.perf_counter()
        await engine.add(name, batch)
        seconds += time.perf_counter() - began
    return seconds


def make_query(chance: random.Random, **options: object) -> SearchQuery:
    """A search for the ten best of a random vector and three words."""
    vector = array("f", [chance.gauss(0, 1) for _ in range(DIMENSION)]).tobytes()
    return SearchQuery(vector=vector, text=" ".join(chance.choices(WORDS, k=3)), **options)  # type: ignore[arg-type]


async def compare(folder: RetrievalEngine, store: RetrievalEngine, rounds: int, items: int) -> None:
    """The costs of both."""
    for name, engine in (("folder", folder), ("PostgreSQL", store)):
        print(f"{items} items into {name}: {await fill(engine, NAME, items):.1f} s", flush=True)
    chance, one = random.Random(2), make_items(0, 1, random.Random(3))
    await measure("write of one item", rounds, lambda: folder.add(NAME, one), lambda: store.add(NAME, one))
    for title, options in (
        ("search by vector", {"mode": "vector"}),
        ("search by vector, filter of 1 %", {"mode": "vector", "filter": b'{"group":7}'}),
        ("search by words", {"mode": "keyword"}),
        ("hybrid search", {"mode": "hybrid"}),
    ):
        await measure(
            title,
            rounds,
            lambda options=options: folder.search(NAME, make_query(chance, **options)),  # type: ignore[misc]
            lambda options=options: store.search(NAME, make_query(chance, **options)),  # type: ignore[misc]
        )
    await measure_recall(folder, store, rounds)


async def measure_recall(folder: RetrievalEngine, store: RetrievalEngine, rounds: int) -> None:
    """The part of the ten nearest behind a filter of 1 % that the store finds; those of the folder are exact."""
    chance, found = random.Random(4), 0
    for _ in range(rounds):
        query = make_query(chance, mode="vector", filter=b'{"group":7}')
        wanted, hits = [{hit.id for hit in (await one.search(NAME, query)).decode()} for one in (folder, store)]
        found += len(wanted & hits)
    print(f"recall behind a filter of 1 %        {found / (10 * rounds):.3f}", flush=True)


async def leave(name: str, work: Work, server: int, rounds: int) -> None:
    """Cancel the work in the middle, and print how long the server's processor time went on growing."""
    after = []
    for _ in range(rounds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            before = read_cpu([server])
            with trio.move_on_after(10):
                while read_cpu([server]) - before < 0.03:  # the server has begun
                    await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
            began = time.perf_counter()
        after.append((await wait_until_idle([server], began)) * 1000)
    print(f"{name:36} idle after {statistics.median(after):5.0f} ms, at most {max(after):5.0f} ms", flush=True)


async def leave_everything(store: RetrievalEngine, server: int, rounds: int) -> None:
    """What the server does after its client has left."""
    chance = random.Random(5)
    words = " ".join(WORDS[:60])
    items = [msgspec.structs.replace(item, text=None) for item in make_items(10**9, 5000, chance)]
    await store.create_index(IndexOptions(name="other", dimension=DIMENSION))

    async def search() -> None:
        while True:
            await store.search(NAME, make_query(chance, mode="vector", k=1000))

    async def search_words() -> None:
        while True:
            await store.search(NAME, SearchQuery(text=words, mode="keyword", k=1000))

    await leave("search by vector, left", search, server, rounds)
    await leave("search by words, left", search_words, server, rounds)
    await leave("write of 5,000 items, left", lambda: store.add("other", items), server, rounds)
    await leave("merge, left", lambda: store.merge(NAME, "other"), server, rounds)
    info = await store.get_index("other")
    print(f"items of what was left: {info.length}", flush=True)


async def run(folder: Path, postgres: Postgres, rounds: int, items: int) -> None:
    """Open both engines, and measure."""
    async with (
        open_engine(folder / "local") as local,
        open_store_engine(folder / "shared", postgres.create_database()) as store,
    ):
        await compare(local, store, rounds, items)
        await leave_everything(store, postgres.pid, rounds)


def main() -> None:
    """Measure, with as many rounds and items as the arguments say."""
    if missing := find_missing():
        sys.exit(f"not installed: {', '.join(missing)}")
    rounds, items = (int(sys.argv[at]) if len(sys.argv) > at else default for at, default in ((1, 20), (2, 50_000)))
    with tempfile.TemporaryDirectory() as name, open_postgres(Path(name) / "postgres") as postgres:
        trio.run(run, Path(name), postgres, rounds, items)


if __name__ == "__main__":
    main()
