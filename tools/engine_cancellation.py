"""How soon does a cluster's engine stop working for a client that has left?

    python -m tools.engine_cancellation [ROUNDS] [ENGINE...]

Starts real servers from packages (the groups `scaleout` and `spark-server`) on loopback; engines are spark, sail and
flight_sql, by default all. A statement without an end runs on the server, and its request is cancelled, as it is when a
client closes its connection. What counts is the processor time of the server's processes, not its answer: the
time until it stands still is printed, the median and the longest.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trio

from lakehouse import Lake, open_lake
from lakehouse.config import parse_config
from tools.kit.processor_time import read_cpu, wait_until_idle
from tools.kit.scaleout import configure_rest_catalog, configure_warehouse, find_missing, find_missing_clients
from tools.kit.scaleout.object_storage import ObjectStorage, open_object_storage
from tools.kit.scaleout.postgres import open_postgres
from tools.kit.scaleout.sail import Sail, find_missing_sail, open_sail
from tools.kit.scaleout.spark import Spark, find_missing_spark, open_spark

STATEMENTS = {
    "rows": "SELECT sum(hash(id, id * 3)) FROM range(0, 10000000000000)",
    "join": "SELECT count(*) FROM range(0, 200000) a JOIN range(0, 200000) b ON hash(a.id, b.id) = 12345",
}
"""A long scan, and a join whose operator takes the processor for seconds at a time."""
LEFT_AFTER = 2.0
"""Seconds of work before the client leaves."""
LONGEST = 120.0
"""Seconds after which it is not waited for any more."""


async def leave(lake: Lake, engine: str, statement: str, server: int) -> float | None:
    """Cancel a statement in the middle; milliseconds until the server's processor time stands still, None: never."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: lake.sql(statement, engine=engine))
        await trio.sleep(LEFT_AFTER)
        nursery.cancel_scope.cancel()
        began = time.perf_counter()
    with trio.move_on_after(LONGEST):
        return (await wait_until_idle([server], began)) * 1000
    return None


def describe(times: Sequence[float | None]) -> str:
    """The median and the longest."""
    found = sorted(value for value in times if value is not None)
    never = f", {len(times) - len(found)} of {len(times)} still worked after {LONGEST:g} s" * (len(found) < len(times))
    if not found:
        return never.removeprefix(", ")
    return f"median {statistics.median(found):6.0f} ms, longest {found[-1]:6.0f} ms{never}"


async def measure(folder: Path, server: Spark | Sail, engine: str, name: str, rounds: int) -> None:
    """Measure each statement on one server."""
    tables = {"lake": {**server.lake, "path": str(folder)}, "queryd": {engine: {"url": server.url}}}
    async with open_lake(parse_config({**tables, "chatd": {"ollama_url": ""}}).config) as lake:
        await lake.sql("SELECT 1", engine=engine)
        for kind, statement in STATEMENTS.items():
            times = [await leave(lake, engine, statement, server.process.pid) for _ in range(rounds)]
            print(f"{name:10} {kind:5} client gone -> server idle: {describe(times)}", flush=True)
            if times[-1] is None:
                break  # what still works would count for the next one


Open = Callable[[Path, ObjectStorage, ExitStack], Spark | Sail]


def start_spark(folder: Path, storage: ObjectStorage, stack: ExitStack) -> Spark:
    """Spark over S3 and PostgreSQL."""
    postgres = stack.enter_context(open_postgres(folder / "postgres"))
    return stack.enter_context(open_spark(folder / "server", configure_warehouse(folder, storage, postgres), storage))


def start_sail(folder: Path, storage: ObjectStorage, stack: ExitStack) -> Sail:
    """Sail's server of Spark Connect over a REST catalog."""
    return stack.enter_context(open_sail(folder / "server", "spark", configure_rest_catalog(folder, storage), storage))


def start_flight_sql(folder: Path, storage: ObjectStorage, stack: ExitStack) -> Sail:
    """Sail's server of Flight SQL over a REST catalog."""
    return stack.enter_context(open_sail(folder / "server", "flight", configure_rest_catalog(folder, storage), storage))


ENGINES: dict[str, tuple[str, Open]] = {
    "spark": ("spark", start_spark),
    "sail": ("spark", start_sail),
    "flight_sql": ("flightsql", start_flight_sql),
}
"""The engine of a request, and how its server starts."""


@contextmanager
def open_storage() -> Iterator[tuple[Path, ObjectStorage]]:
    """A folder, and an S3 server in it."""
    with tempfile.TemporaryDirectory() as name, open_object_storage(Path(name) / "s3") as storage:
        yield Path(name), storage


def main() -> None:
    """Measure, with as many rounds as the first argument says."""
    missing = [*find_missing(), *find_missing_clients(), *find_missing_sail()]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    chosen = sys.argv[2:] or [name for name in ENGINES if name != "spark" or not find_missing_spark()]
    with open_storage() as (folder, storage):
        for name in chosen:
            engine, start = ENGINES[name]
            (folder / name).mkdir()
            with ExitStack() as stack:
                server = start(folder / name, storage, stack)
                trio.run(measure, folder / name / "lake", server, engine, name, rounds)
    print(f"processor time of this process and its children: {read_cpu([os.getpid()]):.1f} s")


if __name__ == "__main__":
    main()
