"""Searches of the matrix with cached texts, through the gateway, beside the original's library in Go.

5,000 vectors of 768 numbers and 200 distinct questions, whose vectors come from a scripted Ollama. Both are on one core
with everything that they consist of, and measured in turns.
"""

from __future__ import annotations

import json
import statistics
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lakehouse.services.retrieval.messages import MAX_BATCH
from tools.bench.go_peer import GO_PORT, GO_PROXY_PORT, go_server
from tools.bench.lake_batches import measure_batches
from tools.bench.lake_matrix_data import DIMENSION, MODEL, WORKERS, embed_text, make_questions, make_workers
from tools.bench.lake_service import PORT, TOKEN, Figure, LakeBench, lake_service
from tools.bench.load import Rate, Target
from tools.bench.process import Running
from tools.kit.scripted_ollama import scripted_ollama

CONNECTIONS = (10, 50, 100, 200)
EMBED_CONNECTIONS = 60
HEADERS = (f"authorization: Bearer {TOKEN}", "content-type: application/json")
CORPUS = "workers"
K = 10
ROUNDS = 3
ORIGINAL = {10: 2704, 50: 6381, 100: 6963, 200: 8114}
"""Requests a second that the original published, on a machine that it did not name."""
ORIGINAL_EMBED = 12531
TABLES = f"""
[embedd]
default_model = "{MODEL}"
provider_url = "{{url}}"
"""
NO_CACHE = """
[matrixd]
cache_size = 0
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The medians over the rounds, and the CPU time of a request in microseconds."""

    per_second: float
    p50: float
    p99: float
    cpu: float


def measure(bench: LakeBench) -> Iterator[Figure]:
    """Searches as the service is by default, and without its cache of results; embeddings, recall, batches."""
    with (
        scripted_ollama(lambda text: [float(value) for value in embed_text(text)], MODEL) as url,
        go_server(bench, make_workers(), ollama=url, model=MODEL) as go,
    ):
        tables, peers = TABLES.format(url=url), dict[int, Measured]()
        with lake_service(bench, tables=tables) as running:
            fill_workers()
            yield from _compare(bench, running, go, peers)
            yield from _compare_embed(bench, running, go)
        with lake_service(bench, tables=tables + NO_CACHE) as running:
            fill_workers()
            yield from _measure_scans(bench, running, peers)
            yield from _compare_recall()
    yield from _compare_batches(bench)


def make_bodies() -> Sequence[bytes]:
    """The distinct requests."""
    return [
        json.dumps({"query_text": text, "corpora": [CORPUS], "k": K}, separators=(",", ":")).encode()
        for text in make_questions()
    ]


def _compare(bench: LakeBench, running: Running, go: Sequence[Running], peers: dict[int, Measured]) -> Iterator[Figure]:
    """Both in turns; `peers` takes the figures of Go by the number of connections."""
    bodies = make_bodies()
    ours = Target(port=PORT, path="/v1/matrix/search", headers=HEADERS, bodies=bodies)
    theirs = Target(port=GO_PROXY_PORT, path="/v1/matrix/search", headers=HEADERS, bodies=bodies)
    _ask_all(ours)
    _ask_all(theirs)
    for count in CONNECTIONS:
        us, them = _take_turns(bench, [(ours, [running]), (theirs, go)], count)
        peers[count], at = them, f"search, {count} connections"
        yield from _describe(at, us, them, published=ORIGINAL[count])
        if count == max(CONNECTIONS):
            yield Figure(name=f"{at}, p99 of Go's", value=us.p99 / them.p99, unit="", target=1.0, at_most=True)


def _describe(at: str, us: Measured, them: Measured, *, published: float) -> Iterator[Figure]:
    yield Figure(name=at, value=us.per_second, unit="/s")
    yield Figure(name=f"{at}, Go", value=them.per_second, unit="/s")
    yield Figure(name=f"{at}, of Go", value=us.per_second / them.per_second, unit="", target=0.5)
    yield Figure(name=f"{at}, p50 / Go", value=us.p50 / 1e3, unit=f"/ {them.p50 / 1e3:.1f} ms")
    yield Figure(name=f"{at}, p99 / Go", value=us.p99 / 1e3, unit=f"/ {them.p99 / 1e3:.1f} ms")
    yield Figure(name=f"{at}, CPU / Go", value=us.cpu, unit=f"/ {them.cpu:.0f} us")
    yield Figure(name=f"{at}, the original's published figure", value=published, unit="/s")


def _compare_embed(bench: LakeBench, running: Running, go: Sequence[Running]) -> Iterator[Figure]:
    bodies = [json.dumps({"texts": [text]}).encode() for text in make_questions()]
    ours = Target(port=PORT, path="/v1/embed", headers=HEADERS, bodies=bodies)
    theirs = Target(port=GO_PROXY_PORT, path="/v1/embed", headers=HEADERS, bodies=bodies)
    _ask_all(ours)
    _ask_all(theirs)
    us, them = _take_turns(bench, [(ours, [running]), (theirs, go)], EMBED_CONNECTIONS)
    yield from _describe(f"embed, cached, {EMBED_CONNECTIONS} connections", us, them, published=ORIGINAL_EMBED)


def _measure_scans(bench: LakeBench, running: Running, peers: Mapping[int, Measured]) -> Iterator[Figure]:
    """Every search compares all vectors: `[matrixd] cache_size` is 0."""
    ours = Target(port=PORT, path="/v1/matrix/search", headers=HEADERS, bodies=make_bodies())
    _ask_all(ours)
    for count in CONNECTIONS:
        (us,) = _take_turns(bench, [(ours, [running])], count)
        at = f"search without kept results, {count} connections"
        yield Figure(name=at, value=us.per_second, unit="/s")
        yield Figure(name=f"{at}, of Go", value=us.per_second / peers[count].per_second, unit="", target=0.5)
        yield Figure(name=f"{at}, p50 / p99", value=us.p50 / 1e3, unit=f"/ {us.p99 / 1e3:.1f} ms")
        yield Figure(name=f"{at}, CPU", value=us.cpu, unit="us")


def _compare_batches(bench: LakeBench) -> Iterator[Figure]:
    """The engine by itself: 200 callers, answered one by one and in batches."""
    alone, together = measure_batches(bench, 1), measure_batches(bench, MAX_BATCH)
    yield Figure(name="engine alone, batches of 1", value=alone, unit="/s")
    yield Figure(name=f"engine alone, batches of up to {MAX_BATCH}", value=together, unit="/s")
    yield Figure(name="what batching buys", value=together / alone, unit="x")


def _compare_recall() -> Iterator[Figure]:
    """The share of the ten nearest that is found, by comparing with the distances to all vectors."""
    bodies = make_bodies()
    theirs = [float(ask(GO_PORT, "/matrix/recall", body)["recall"]) for body in bodies]
    yield Figure(name="recall@10, Go", value=statistics.mean(theirs), unit="")
    workers = list(make_workers())
    matrix = np.array([worker["vector"] for worker in workers], dtype=np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    ids = [str(worker["id"]) for worker in workers]
    found = [
        _recall(ask(PORT, "/v1/matrix/search", body), matrix, ids, json.loads(body)["query_text"]) for body in bodies
    ]
    yield Figure(name="recall@10", value=statistics.mean(found), unit="", target=1.0)


def _recall(answer: Mapping[str, Any], matrix: NDArray[np.float64], ids: Sequence[str], text: str) -> float:
    query = embed_text(text).astype(np.float64)
    distances = 1 - matrix @ query / np.linalg.norm(query)
    limit = float(np.sort(distances)[K - 1]) + 1e-6
    at = dict(zip(ids, distances.tolist(), strict=True))
    return sum(1 for hit in answer["results"] if at[hit["id"]] <= limit) / K


def _take_turns(
    bench: LakeBench, targets: Sequence[tuple[Target, Sequence[Running]]], connections: int
) -> list[Measured]:
    """Measure the targets one after another, several times. The medians of each."""
    rounds = 1 if bench.quick else ROUNDS
    seen: list[list[tuple[Rate, float]]] = [[] for _ in targets]
    for _ in range(rounds):
        for number, (target, processes) in enumerate(targets):
            before = sum(process.cpu_seconds() for process in processes)
            rate = _measure_load(bench, target, connections)
            cpu = (sum(process.cpu_seconds() for process in processes) - before) / rate.requests * 1e6
            seen[number].append((rate, cpu))
    return [
        Measured(
            per_second=statistics.median(rate.per_second for rate, _ in one),
            p50=statistics.median(rate.p50 for rate, _ in one),
            p99=statistics.median(rate.p99 for rate, _ in one),
            cpu=statistics.median(cpu for _, cpu in one),
        )
        for one in seen
    ]


def _measure_load(bench: LakeBench, target: Target, connections: int) -> Rate:
    """One measurement. Another one if a request to Go's proxy failed, which resets a connection now and then."""
    for _ in range(3 if target.port == GO_PROXY_PORT else 1):
        try:
            return bench.measure_load(target, connections)
        except RuntimeError as error:
            failure = error
    raise failure


def fill_workers(count: int = WORKERS) -> None:
    """Make the index, and add so many workers."""
    ask(PORT, "/v1/vectors/index", json.dumps({"name": CORPUS, "dimension": DIMENSION}).encode())
    workers = make_workers(count)
    while items := list(islice(workers, 1000)):
        ask(PORT, f"/v1/vectors/index/{CORPUS}/add", json.dumps({"items": items}).encode())


def _ask_all(target: Target) -> None:
    """Send each request once, so that the vectors of the texts are cached."""
    for body in target.bodies:
        ask(target.port, target.path, body)


def ask(port: int, path: str, body: bytes) -> dict[str, Any]:
    """Send a request. Raises HTTPError for a status that is no success."""
    headers = dict(header.split(": ", 1) for header in HEADERS)
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        document: dict[str, Any] = json.load(answer)
        return document
