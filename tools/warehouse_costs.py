"""What does a lake on S3 and PostgreSQL cost, beside one in a folder, and how soon does it end what a client has left?

    python -m tools.warehouse_costs [ROUNDS]

Starts real servers from packages (the group `scaleout`) on loopback. Both lakes are in this process and are measured
in turn, so that other work on the machine meets both alike. Prints medians and their ratio: a small append, a query of
cached data, a scan of ten million rows. Then two lakes on one warehouse get appends from four writers, which are
counted. At the end, work is cancelled in the middle, and the processor time of everybody who took part is watched until
it stands still.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import trio

from lakehouse import Lake, open_lake
from lakehouse.config import parse_config
from lakehouse.services.warehouse.bucket import make_bucket
from lakehouse.services.warehouse.uploads import upload
from tools.kit.processor_time import wait_until_idle
from tools.kit.scaleout import configure_warehouse, find_missing
from tools.kit.scaleout.object_storage import ObjectStorage, open_object_storage
from tools.kit.scaleout.postgres import Postgres, open_postgres

ROWS = 10_000_000
APPENDS = 50
WRITERS = 4
SCAN = "SELECT k, count(*), sum(x) FROM big GROUP BY k ORDER BY k"
ENDLESS = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE hash(a.range) = hash(b.range)"

Work = Callable[[], Awaitable[object]]


async def measure(name: str, rounds: int, local: Work, shared: Work) -> None:
    """Do both in turn, and print the medians in milliseconds and their ratio."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for work, found in zip((local, shared), times, strict=True):
            began = time.perf_counter()
            await work()
            if number:  # the first round starts processes and fills caches
                found.append((time.perf_counter() - began) * 1000)
    one, other = (statistics.median(found) for found in times)
    print(f"{name:32} folder {one:8.1f} ms   warehouse {other:8.1f} ms   x {other / one:.2f}", flush=True)


def write_rows(path: Path) -> None:
    """Ten million rows of two columns."""
    keys = pa.array([number % 10 for number in range(100_000)], pa.int64())
    with pq.ParquetWriter(path, pa.schema({"k": pa.int64(), "x": pa.int64()}), compression="zstd") as writer:
        for batch in range(ROWS // 100_000):
            values = pa.array(range(batch * 100_000, (batch + 1) * 100_000), pa.int64())
            writer.write_table(pa.table({"k": keys, "x": values}))


async def compare(local: Lake, shared: Lake, folder: Path, rounds: int) -> None:
    """The costs beside a lake in a folder."""
    row = b"id,word\n1,a\n"
    for lake in (local, shared):
        await lake.ingest("t", row)
    await measure(
        "small append",
        rounds,
        lambda: local.ingest("t", row, mode="append"),
        lambda: shared.ingest("t", row, mode="append"),
    )
    query = "SELECT count(*) FROM t WHERE id = 1"
    await measure("query of cached data", rounds, lambda: local.sql(query), lambda: shared.sql(query))
    await trio.to_thread.run_sync(write_rows, folder / "rows.parquet")
    for lake in (local, shared):
        await lake.ingest("big", folder / "rows.parquet")
    await measure(f"scan of {ROWS:,} rows", rounds, lambda: local.sql(SCAN), lambda: shared.sql(SCAN))


async def append_from_all(lakes: Sequence[Lake]) -> None:
    """Append from four writers at once, and count what each lake has."""
    failed = 0

    async def append(lake: Lake, writer: int) -> None:
        nonlocal failed
        for number in range(APPENDS):
            try:
                await lake.ingest("shared", f"id\n{writer * APPENDS + number}\n".encode(), mode="append")
            except Exception as error:  # noqa: BLE001 - a tool: it is printed and counted
                failed += 1
                print(f"  {error}")

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for writer in range(WRITERS):
            nursery.start_soon(append, lakes[writer % len(lakes)], writer)
    counts = [(await lake.sql("SELECT count(*), count(DISTINCT id) FROM shared")).rows for lake in lakes]
    seconds = time.perf_counter() - began
    print(f"{WRITERS} x {APPENDS} appends: {failed} refused, rows in each lake {counts}, {seconds:.1f} s")


async def leave(name: str, work: Work, roots: Sequence[int], rounds: int) -> None:
    """Cancel the work in the middle, again and again, and print how long processor time went on growing."""
    after: list[float] = []
    for _ in range(rounds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await trio.sleep(0.5)
            nursery.cancel_scope.cancel()
            began = time.perf_counter()
        after.append((await wait_until_idle(roots, began)) * 1000)
    print(f"{name:32} idle after {statistics.median(after):6.0f} ms, at most {max(after):6.0f} ms", flush=True)


async def leave_everything(lake: Lake, storage: ObjectStorage, rounds: int) -> None:
    """What goes on after its client has left: in this process, its children, and the server of the bucket."""
    bucket = make_bucket(storage.make_settings("left/"))

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(2**20)

    roots = [os.getpid(), storage.pid]
    await leave("upload to S3", lambda: upload(bucket, "k", endless()), roots, rounds)
    await leave("DuckDB", lambda: lake.sql(ENDLESS), roots, rounds)
    bucket.close()


async def run(folder: Path, storage: ObjectStorage, postgres: Postgres, rounds: int) -> None:
    """Open the lakes, and measure."""
    table = configure_warehouse(folder, storage, postgres)
    async with AsyncExitStack() as stack:

        async def enter(name: str, lake: dict[str, object]) -> Lake:
            config = parse_config({"lake": {**lake, "path": str(folder / name)}, "chatd": {"ollama_url": ""}}).config
            return await stack.enter_async_context(open_lake(config))

        local, shared, other = await enter("local", {}), await enter("one", table), await enter("two", table)
        await compare(local, shared, folder, rounds)
        await append_from_all((shared, other))
        await leave_everything(shared, storage, rounds)


def main() -> None:
    """Measure, with as many rounds as the first argument says."""
    if missing := find_missing():
        sys.exit(f"not installed: {', '.join(missing)}")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_postgres(folder / "postgres") as postgres, open_object_storage(folder / "s3") as storage:
            trio.run(run, folder, storage, postgres, rounds)


if __name__ == "__main__":
    main()
