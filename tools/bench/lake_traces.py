"""The stores of traces and operations, filled: what is added durably, what is found, and the start with all of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile

from tools.bench.lake_answer import request
from tools.bench.lake_service import PORT, TOKEN, Figure, LakeBench, lake_service
from tools.bench.lake_traces_data import CHAIN, COMMON_TAG, RARE_TAG, fill_lake, make_body, make_event
from tools.bench.load import Rate, Target
from tools.bench.process import Running

TRACES, EVENTS = 100_000, 1_000_000
ADD_MS, SEARCH_MS = 5.0, 30.0
HEADERS = (f"authorization: Bearer {TOKEN}", "content-type: application/json")
MESSAGE = {"type": "email", "sender": "a@example.org", "subject": "status", "body": "the run has ended", "tag": "ops"}

Bodies = Sequence[Mapping[str, object]]


def measure(bench: LakeBench) -> Iterator[Figure]:
    """Times of each operation with full stores, and of the first answers after a start with them."""
    lake = bench.fresh("traces") / "lake"
    traces, events = (2_000, 20_000) if bench.quick else (TRACES, EVENTS)
    began = time.perf_counter()
    fill_lake(lake, traces=traces, events=events)
    yield Figure(name=f"filled with {traces:,} traces and {events:,} operations in", value=_since(began), unit="s")
    with lake_service(bench, lake=lake) as running:
        began = time.perf_counter()
        _wait_for_index()
        yield Figure(name="traces indexed", value=traces / _since(began), unit="/s")
        created = int(request("GET", f"/v1/pathway/get/trace-{traces // 2}")["created_at_ns"])
        yield from _measure_reads(bench, running, created)
        yield from _measure_writes(bench, running)
        yield Figure(name="memory of all processes", value=running.resident_bytes() / 1e6, unit="MB")
        _wait_for_index()
    with lake_service(bench, lake=lake) as running:
        yield Figure(name="start with full stores to ready", value=running.ready_after * 1e3, unit="ms")
        for name, body in (("stats", None), ("search", {"text": "database", "limit": 10})):
            began = time.perf_counter()
            request("GET" if body is None else "POST", f"/v1/pathway/{name}", body)
            yield Figure(name=f"first {name} after it", value=_since(began) * 1e3, unit="ms")


def _measure_reads(bench: LakeBench, running: Running, created: int) -> Iterator[Figure]:
    """`created` is the time at which half of the traces had been added."""
    words = [{"text": str(make_body(number)["content"])[10:60], "limit": 10} for number in range(0, 5_000, 100)]
    searches: Mapping[str, Bodies] = {
        "newest": [{"limit": 10}],
        "common tag": [{"tag": COMMON_TAG, "limit": 10}],
        "two tags": [{"tags": [COMMON_TAG, f"thing-{name}"], "limit": 10} for name in ("parser", "queue", "lock")],
        "rare tag": [{"tag": RARE_TAG, "limit": 100}],
        "unknown tag": [{"tag": "none"}],
        "common and rare tag": [{"tags": [COMMON_TAG, RARE_TAG], "limit": 100}],
        "common and unknown tag": [{"tags": [COMMON_TAG, "none"]}],
        "retired": [{"state": "retired", "limit": 10}],
        "retired with a rare tag": [{"state": "retired", "tags": [COMMON_TAG, RARE_TAG], "limit": 10}],
        "before a time": [{"created_before": created, "limit": 10}],
        "from a time on": [{"created_from": created, "limit": 10}],
        "older half, rare tag": [{"created_before": created, "tag": RARE_TAG, "limit": 10}],
        "a span of no time": [{"created_from": created, "created_before": created, "state": "all"}],
        "text": words,
        "text, tag": [{**body, "tag": "thing-parser"} for body in words],
        "text, 100 found": [{**body, "limit": 100} for body in words],
    }
    for name, bodies in searches.items():
        yield from _time(bench, running, f"search: {name}", "pathway/search", bodies, at_most=SEARCH_MS)
    for name in ("pathway/get/trace-70", f"pathway/history/chain-{CHAIN - 1}", "pathway/stats", "observer/stats"):
        yield from _time(bench, running, name, name)


def _measure_writes(bench: LakeBench, running: Running) -> Iterator[Figure]:
    yield Figure(name="sync of 4 KiB to the disk, alone, p50", value=_sync_seconds(bench.directory) * 1e3, unit="ms")
    adds: Bodies = [make_body(10_000_000 + number) for number in range(200)]
    events: Bodies = [make_event(number) for number in range(200)]
    replays: Bodies = [{**body, "uid": f"trace-{number}"} for number, body in enumerate(adds)]
    for name, bodies in {
        "pathway/add": adds,
        "pathway/add_idempotent": replays,
        "pathway/update": replays,
        "observer/event": events,
        "observer/inbox": [MESSAGE],
    }.items():
        for connections in (1, 16):
            yield from _time(bench, running, name, name, bodies, connections=connections, at_most=ADD_MS)


def _time(
    bench: LakeBench,
    running: Running,
    shown: str,
    path: str,
    bodies: Bodies = (),
    *,
    connections: int = 1,
    at_most: float | None = None,
) -> Iterator[Figure]:
    target = Target(
        port=PORT, path=f"/v1/{path}", headers=HEADERS, bodies=[json.dumps(body).encode() for body in bodies]
    )
    before = running.cpu_seconds()
    rate: Rate = bench.measure_load(target, connections)
    cpu = (running.cpu_seconds() - before) / rate.requests * 1e6
    shown = f"{shown}, {connections} connection{'s' if connections > 1 else ''}"
    yield Figure(name=f"{shown}, p50", value=rate.p50 / 1e3, unit="ms", target=at_most, at_most=True)
    yield Figure(name=f"{shown}, p99", value=rate.p99 / 1e3, unit="ms")
    yield Figure(name=f"{shown}, rate", value=rate.per_second, unit="/s")
    yield Figure(name=f"{shown}, CPU", value=cpu, unit="us")


def _sync_seconds(directory: Path) -> float:
    """The median time of a sync of the disk without any service: what a durable write cannot be below."""
    with TemporaryFile(dir=directory) as file:
        times = []
        for _ in range(200):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(_since(began))
    return median(times)


def _wait_for_index() -> None:
    """Until a search by text lacks no change."""
    while request("POST", "/v1/pathway/search", {"text": "database", "limit": 1})["lag"]:
        time.sleep(0.1)


def _since(began: float) -> float:
    return time.perf_counter() - began
