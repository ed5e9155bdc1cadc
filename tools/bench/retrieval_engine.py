"""Measure the retrieval engine alone, on one processor: `python -m tools.bench.retrieval_engine [--large]`.

    searches    100,000 x 384: one caller; the same behind filters; opening after a kill; adding 1,000 items
    batches     5,000 x 768: 1 and 128 callers, the processor time of the engine for each search
    large       800,000 x 256 (with --large, 3 minutes): one caller, and the memory of the process

The engine has processor 0 to itself, the caller the others. Vectors are random around 2,000 centres, so a query has
near neighbours as texts have. Every figure is a median; recall is that of a comparison of all vectors by numpy.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import trio
from numpy.typing import NDArray

from lakehouse.services.contracts.retrieval import IndexOptions, Item, SearchQuery
from lakehouse.services.retrieval.client import LakeRetrieval
from lakehouse.services.retrieval.gauges import read_memory
from tools.kit.retrieval_engine import cpu_seconds, open_engine, pid_of

CENTRES = 2000
BATCH = 4000
QUERIES = 60
CALLERS = 128
ROUNDS = 40

Vectors = NDArray[np.float32]


def make_vectors(count: int, dimension: int, seed: int) -> Vectors:
    """Random vectors around common centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((CENTRES, dimension), np.float32)
    return centres[rng.integers(0, CENTRES, count)] + rng.standard_normal((count, dimension), np.float32)


async def fill(engine: LakeRetrieval, name: str, count: int, dimension: int, *, approximate: bool = False) -> None:
    """Make an index with `count` items, whose metadata has a number below 100."""
    options = IndexOptions(
        name=name, dimension=dimension, keyword=False, fields={"part": "int"}, approximate=approximate
    )
    await engine.create_index(options)
    pin(engine)
    for start in range(0, count, BATCH):
        vectors = make_vectors(min(BATCH, count - start), dimension, start + 1)
        items = [
            Item(id=f"item-{start + at}", vector=one.tobytes(), metadata=b'{"part":%d}' % ((start + at) % 100))
            for at, one in enumerate(vectors)
        ]
        await engine.add(name, items)


def pin(engine: LakeRetrieval) -> None:
    """Give the engine one processor, and this process the rest."""
    pid = pid_of(engine)
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {0})
    others = set(range(os.cpu_count() or 1)) - {0}
    os.sched_setaffinity(0, others or {0})


async def time_searches(engine: LakeRetrieval, name: str, dimension: int, where: bytes = b"") -> tuple[float, float]:
    """The milliseconds of a search by one caller, and of the engine's processor time for it."""
    queries = make_vectors(QUERIES, dimension, 10**6 + 1)
    elapsed = []
    await engine.search(name, SearchQuery(vector=queries[0].tobytes(), filter=where))
    pid = pid_of(engine)
    spent = cpu_seconds(pid)
    for query in queries:
        began = time.perf_counter()
        await engine.search(name, SearchQuery(vector=query.tobytes(), filter=where))
        elapsed.append(time.perf_counter() - began)
    return statistics.median(elapsed) * 1e3, (cpu_seconds(pid) - spent) / QUERIES * 1e3


async def time_batches(engine: LakeRetrieval, name: str, dimension: int, callers: int) -> tuple[float, float]:
    """The microseconds of processor time of a search by many callers, and the searches of a batch."""
    queries = [one.tobytes() for one in make_vectors(callers * ROUNDS, dimension, 10**6 + 2)]
    for query in queries[:QUERIES]:  # opens the index, and reads what the results have in common
        await engine.search(name, SearchQuery(vector=query, k=100))
    before, spent = await engine.stats(), cpu_seconds(pid_of(engine))

    async def ask(own: Sequence[bytes]) -> None:
        for query in own:
            await engine.search(name, SearchQuery(vector=query))

    async with trio.open_nursery() as nursery:
        for at in range(callers):
            nursery.start_soon(ask, queries[at * ROUNDS : (at + 1) * ROUNDS])
    spent = cpu_seconds(pid_of(engine)) - spent
    after = await engine.stats()
    return spent / len(queries) * 1e6, len(queries) / (after.batches - before.batches)


async def measure_recall(engine: LakeRetrieval, name: str, count: int, dimension: int) -> float:
    """The part of the true ten nearest items that searches find."""
    queries = make_vectors(20, dimension, 10**6 + 3)
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    scores = np.concatenate(
        [
            unit @ (part / np.linalg.norm(part, axis=1, keepdims=True)).T
            for start in range(0, count, BATCH)
            for part in [make_vectors(min(BATCH, count - start), dimension, start + 1)]
        ],
        axis=1,
    )
    found = 0
    for query, own in zip(queries, scores, strict=True):
        tenth = np.partition(own, count - 10)[count - 10]
        hits = (await engine.search(name, SearchQuery(vector=query.tobytes()))).decode()
        found += sum(own[int(hit.id.removeprefix("item-"))] >= tenth - 1e-6 for hit in hits)
    return found / (10 * len(queries))


async def time_opening(engine: LakeRetrieval, name: str, dimension: int) -> tuple[float, float]:
    """The seconds from the kill of the engine to the first answer, and those for the index alone."""
    query = SearchQuery(vector=make_vectors(1, dimension, 5)[0].tobytes())
    whole, index = [], []
    for _ in range(5):
        os.kill(pid_of(engine), signal.SIGKILL)
        while engine.process.pid is not None:
            await trio.sleep(0.001)
        await trio.sleep(0.15)  # the back-off
        began = time.perf_counter()
        await engine.list_indexes()
        opened = time.perf_counter()
        await engine.search(name, query)
        whole.append(time.perf_counter() - began)
        index.append(time.perf_counter() - opened)
    pin(engine)
    return statistics.median(whole), statistics.median(index)


async def time_adding(engine: LakeRetrieval, name: str, dimension: int) -> float:
    """The milliseconds until 1,000 new items are durable."""
    elapsed = []
    for turn in range(5):
        vectors = make_vectors(1000, dimension, 10**6 + 10 + turn)
        items = [Item(id=f"new-{turn}-{at}", vector=one.tobytes(), metadata=b"{}") for at, one in enumerate(vectors)]
        began = time.perf_counter()
        await engine.add(name, items)
        elapsed.append(time.perf_counter() - began)
    return statistics.median(elapsed) * 1e3


async def report_searches(engine: LakeRetrieval) -> None:
    """100,000 x 384."""
    await fill(engine, "searches", 100_000, 384)
    for title, where in (("all", b""), ("1 % of the items", b'{"part":7}'), ("half of them", b'{"part":{"lt":50}}')):
        elapsed, spent = await time_searches(engine, "searches", 384, where)
        print(f"100,000 x 384, {title}: {elapsed:.2f} ms a search, {spent:.2f} ms of it processor time")
    print(f"100,000 x 384, recall@10: {await measure_recall(engine, 'searches', 100_000, 384):.3f}")
    spent_batch, size = await time_batches(engine, "searches", 384, CALLERS)
    print(f"100,000 x 384, {CALLERS} callers: {spent_batch:.0f} us processor time a search, {size:.0f} in a batch")
    whole, index = await time_opening(engine, "searches", 384)
    print(f"100,000 x 384, opening: {whole:.3f} s from nothing to the first answer, {index:.3f} s for the index")
    print(f"100,000 x 384, adding 1,000: {await time_adding(engine, 'searches', 384):.0f} ms")
    print(f"100,000 x 384, memory: {read_memory(engine.process.pid) / 2**20:.0f} MiB")


async def report_batches(engine: LakeRetrieval) -> None:
    """5,000 x 768."""
    await fill(engine, "batches", 5000, 768)
    for callers in (1, CALLERS):
        spent, size = await time_batches(engine, "batches", 768, callers)
        print(f"5,000 x 768, {callers} callers: {spent:.0f} us processor time a search, {size:.0f} in a batch")


async def report_large(engine: LakeRetrieval, *, approximate: bool) -> None:
    """800,000 x 256."""
    await fill(engine, "large", 800_000, 256, approximate=approximate)
    os.kill(pid_of(engine), signal.SIGKILL)  # the memory of an engine that was opened, not of the one that was filled
    while engine.process.pid is not None:
        await trio.sleep(0.01)
    await engine.get_index("large")
    pin(engine)
    while approximate and (await engine.get_index("large")).exact:  # until the cells have been made and tried
        await engine.search("large", SearchQuery(vector=make_vectors(1, 256, 5)[0].tobytes()))
        await trio.sleep(0.5)
    elapsed, spent = await time_searches(engine, "large", 256)
    print(f"800,000 x 256: {elapsed:.1f} ms a search, {spent:.1f} ms of it processor time")
    recall = await measure_recall(engine, "large", 800_000, 256)
    info = await engine.get_index("large")
    print(f"800,000 x 256: recall@10 {recall:.3f}, exact: {info.exact}, measured by the engine: {info.recall}")
    print(f"800,000 x 256, memory: {read_memory(engine.process.pid) / 2**20:.0f} MiB")


async def measure(reports: Sequence[Callable[[LakeRetrieval], Awaitable[None]]]) -> None:
    """Run each report with an engine of its own."""
    for report in reports:
        with tempfile.TemporaryDirectory() as folder:
            async with open_engine(Path(folder) / "lake") as engine:
                await report(engine)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--large", action="store_true", help="measure 800,000 items too")
    parser.add_argument("--approximate", action="store_true", help="let the large index be approximate")
    arguments = parser.parse_args()

    async def large(engine: LakeRetrieval) -> None:
        await report_large(engine, approximate=arguments.approximate)

    trio.run(measure, [report_batches, report_searches, *([large] if arguments.large else [])])


if __name__ == "__main__":
    main()
