"""Traces and operations to measure with: as many as asked for, the same in each run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import trio

from lakehouse.services.lake.directory import LakeDirectory, open_lake_directory
from lakehouse.services.observerd.operations import Operation
from lakehouse.services.observerd.records import open_local_records
from lakehouse.services.pathwayd.changes import Add, Retire
from lakehouse.services.pathwayd.sqlite_database import TraceDatabase
from lakehouse.services.pathwayd.traces import Source

CHAIN = 100
"""Versions of the trace `chain-99`, with itself."""
BATCH = 5_000
COMMON_TAG, RARE_TAG = "agent", "rare"
"""Every trace has the first, one of a thousand has the second."""
_VERBS_TEXT = "restart rebuild revert rename retry cache split merge index drop pin widen quote escape sort batch"
_THINGS_TEXT = (
    "database server parser test fixture queue worker token header certificate index schema column query "
    "stream socket timer lock migration snapshot proxy route template formatter dependency container volume "
    "secret branch commit"
)
_VERBS = _VERBS_TEXT.split()
_THINGS = _THINGS_TEXT.split()
_ENDS = ["worked", "failed", "timed-out", "helped-once", "made-it-worse"]


def make_body(number: int) -> dict[str, object]:
    """The body of a request that adds a trace, without an id."""
    draw = random.Random(number)
    thing, other = draw.sample(_THINGS, 2)
    content = {
        "tried": f"{draw.choice(_VERBS)} the {thing} before the {other}",
        "result": draw.choice(_ENDS),
        "notes": " ".join(draw.choices(_THINGS + _VERBS, k=25)),
        "attempt": number,
    }
    tags = [COMMON_TAG, f"thing-{thing}", f"run-{number // 5}", *([RARE_TAG] if number % 1_000 == 0 else [])]
    return {"content": content, "tags": tags}


def make_event(number: int) -> dict[str, object]:
    """The body of a request that records an operation."""
    return {
        "endpoint": f"/v1/{_VERBS[number % len(_VERBS)]}",
        "timestamp": f"2026-05-{number % 28 + 1:02}T12:00:00Z",
        "source": "scenario" if number % 4 == 0 else "mcp",
        "input_summary": f"{_THINGS[number % len(_THINGS)]} number {number}",
        "output_summary": "done",
        "success": number % 10 != 0,
        "duration_ms": number % 700,
    }


def fill_lake(path: Path, *, traces: int, events: int) -> None:
    """Make a lake with so many traces, of which a twentieth is retired, and operations, by the code of the services."""
    with open_lake_directory(path) as directory:
        _fill_traces(directory, traces)
        trio.run(_fill_events, directory, events)


def _fill_traces(directory: LakeDirectory, count: int) -> None:
    database = TraceDatabase(directory.pathway_db)
    try:
        following = _iterate_changes(count)
        while changes := list(islice(following, BATCH)):
            outcomes = database.apply(changes)
            assert all(outcome.error is None for outcome in outcomes), outcomes
    finally:
        database.close()


def _iterate_changes(count: int) -> Iterator[Add | Retire]:
    for number in range(count - CHAIN):
        yield _make_add(number, f"trace-{number}", None)
        if number % 20 == 7:
            yield Retire(uid=f"trace-{number}", reason="it was wrong")
    for number in range(CHAIN):
        yield _make_add(number, f"chain-{number}", f"chain-{number - 1}" if number else None)


def _make_add(number: int, uid: str, predecessor: str | None) -> Add:
    body = make_body(number)
    tags = body["tags"]
    assert isinstance(tags, list)
    sources = [Source(request=f"request-{number // 10}")] if number % 2 else []
    content = json.dumps(body["content"]).encode()
    return Add(uid=uid, content=content, tags=tags, sources=sources, predecessor=predecessor)


async def _fill_events(directory: LakeDirectory, count: int) -> None:
    async with open_local_records(directory) as records:
        for start in range(0, count, BATCH):
            await records.append(_make_operations(range(start, min(count, start + BATCH))))


def _make_operations(numbers: Iterable[int]) -> list[Operation]:
    return [msgspec.convert(make_event(number), Operation) for number in numbers]
