"""What batching buys: the engine of the lake by itself, with callers that wait for each other's batches and without.

The engine's child is on the core of the service, the callers are in one process on the other one.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Sequence

import trio

from lakehouse.services.contracts.retrieval import CorpusQuery, IndexOptions, Item, SearchQuery
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.retrieval.client import LakeRetrieval, open_retrieval
from tools.bench.lake_matrix_data import DIMENSION, embed_text, make_questions, make_workers
from tools.bench.lake_service import LakeBench

CORPUS = "workers"
CALLERS = 200


def measure_batches(bench: LakeBench, max_batch: int) -> float:
    """Searches a second of 200 callers, each of whom asks again when answered, with batches of at most so many."""
    return trio.run(_measure, bench, max_batch)


async def _measure(bench: LakeBench, max_batch: int) -> float:
    vectors = [embed_text(question).tobytes() for question in make_questions()]
    with open_lake_directory(bench.fresh("batches")) as directory:
        async with open_retrieval(directory, max_batch=max_batch) as engine:
            await engine.create_index(IndexOptions(name=CORPUS, dimension=DIMENSION))
            await engine.add(CORPUS, [_make_item(worker) for worker in make_workers()])
            assert engine.process.pid is not None
            os.sched_setaffinity(engine.process.pid, {int(bench.service_cores)})
            await _ask(engine, vectors, seconds=0.5)
            return await _ask(engine, vectors, seconds=bench.seconds) / bench.seconds


def _make_item(worker: object) -> Item:
    assert isinstance(worker, dict)
    vector = array("f", worker["vector"]).tobytes()
    return Item(id=worker["id"], vector=vector, metadata=json.dumps(worker["metadata"]).encode())


async def _ask(engine: LakeRetrieval, vectors: Sequence[bytes], *, seconds: float) -> int:
    """The number of searches in so many seconds."""
    count, until = 0, trio.current_time() + seconds

    async def call(turn: int) -> None:
        nonlocal count
        while trio.current_time() < until:
            turn += 1
            query = SearchQuery(vector=vectors[turn % len(vectors)])
            await engine.search_many([CorpusQuery(index=CORPUS)], query, per_corpus_k=10)
            count += 1

    async with trio.open_nursery() as nursery:
        for number in range(CALLERS):
            nursery.start_soon(call, number)
    return count
