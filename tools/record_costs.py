"""What do traces and operations in PostgreSQL cost, beside those in a folder?

    python -m tools.record_costs [ROUNDS]

Starts PostgreSQL from its package (the group `scaleout`) on loopback, which syncs its disk as in production. Both kinds
of records are in this process and are measured in turn, so that other work on the machine meets both alike. Prints the
medians of the rounds, and their ratio.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import trio

from lakehouse.config.urls import separate_credentials
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.observerd import postgres_records as shared_operations
from lakehouse.services.observerd import records as local_operations
from lakehouse.services.observerd.operations import Operation, complete
from lakehouse.services.observerd.store import OperationStore
from lakehouse.services.pathwayd import postgres_records as shared_traces
from lakehouse.services.pathwayd import records as local_traces
from lakehouse.services.pathwayd.changes import Add
from lakehouse.services.pathwayd.store import TraceStore
from lakehouse.services.pathwayd.trace_rows import TraceFilter
from lakehouse.services.postgres.database import open_postgres
from tools.kit.scaleout import find_missing
from tools.kit.scaleout.postgres import open_postgres as run_postgres

TRACES = 10_000
TOGETHER = 32
CHAIN = 100

Work = Callable[[TraceStore, OperationStore], Awaitable[object]]


async def add_one(traces: TraceStore, _: OperationStore) -> None:
    await traces.add(b'{"tried": "x"}', tags=["new"])


async def add_together(traces: TraceStore, operations: OperationStore) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(TOGETHER):
            nursery.start_soon(add_one, traces, operations)


async def read_chain(traces: TraceStore, _: OperationStore) -> None:
    assert len(await traces.history(f"chain-{CHAIN - 1}")) == CHAIN


async def search_rare(traces: TraceStore, _: OperationStore) -> None:
    assert len(await traces.search(TraceFilter(tags=["common", "rare"]), limit=100)) == TRACES // 1_000


async def record_one(_: TraceStore, operations: OperationStore) -> None:
    await operations.record([complete(Operation(endpoint="/x", success=True))])


async def record_together(traces: TraceStore, operations: OperationStore) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(TOGETHER):
            nursery.start_soon(record_one, traces, operations)


async def count(_: TraceStore, operations: OperationStore) -> None:
    await operations.count()


WORK: Sequence[tuple[str, Work]] = (
    ("a trace is added", add_one),
    (f"{TOGETHER} traces are added at once", add_together),
    (f"{CHAIN} versions of a trace", read_chain),
    (f"{TRACES // 1_000} of {TRACES:,} traces by two tags", search_rare),
    ("an operation is recorded", record_one),
    (f"{TOGETHER} operations at once", record_together),
    ("the newest operations are counted", count),
)


async def fill(traces: TraceStore) -> None:
    """Traces to search, the oldest of which have a rare tag, and a chain of versions."""
    for start in range(0, TRACES, 1_000):
        rare = ["rare"] if start == 0 else []
        await traces.apply_batch(
            [
                Add(uid=f"t{start + n}", content=b"{}", tags=["common", *(rare if n < TRACES // 1_000 else [])])
                for n in range(1_000)
            ]
        )
    await traces.apply_batch(
        [Add(uid=f"chain-{n}", content=b"1", predecessor=f"chain-{n - 1}" if n else None) for n in range(CHAIN)]
    )


async def measure(rounds: int, kinds: Sequence[tuple[TraceStore, OperationStore]]) -> None:
    """Do each work with both kinds in turn, and print the medians in milliseconds and their ratio."""
    for name, work in WORK:
        times: list[list[float]] = [[] for _ in kinds]
        for number in range(rounds + 1):
            for stores, found in zip(kinds, times, strict=True):
                began = time.perf_counter()
                await work(*stores)
                if number:  # the first round opens connections and fills caches
                    found.append((time.perf_counter() - began) * 1000)
        one, other = (statistics.median(found) for found in times)
        print(f"{name:36} folder {one:8.1f} ms   PostgreSQL {other:8.1f} ms   x {other / one:.2f}", flush=True)


async def run(folder: Path, url: str, rounds: int) -> None:
    """Measure a folder and a database."""
    with open_lake_directory(folder) as directory:
        async with (
            open_postgres(separate_credentials(url), schema="lakehouse_costs", load_password=str) as database,
            local_traces.open_local_records(directory) as local,
            local_operations.open_local_records(directory) as local_ops,
            shared_traces.open_postgres_records(database) as shared,
            shared_operations.open_postgres_records(database) as shared_ops,
        ):
            kinds = [
                (TraceStore(local, {}), OperationStore(local_ops)),
                (TraceStore(shared, {}), OperationStore(shared_ops)),
            ]
            for traces, _ in kinds:
                await fill(traces)
            await measure(rounds, kinds)


def main(rounds: int) -> None:
    """Start the server, and measure."""
    if missing := find_missing():
        sys.exit(f"the group `scaleout` is not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with run_postgres(folder / "postgres", fsync=True) as server:
            trio.run(run, folder / "lake", server.create_database(), rounds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
