"""How soon is a statement gone from a Trino cluster when the client leaves, and how soon does the cluster stand still?

    python -m tools.trino_cancellation [URL] [--pid PID] [--rounds N] [--catalog NAME] [--schema NAME]

Without a URL it starts a server of its own over the tables of a lake on S3 and PostgreSQL (the groups `scaleout` and
`trino-server`, and the folder that `nox -s scaleout_trino` fetches, in LAKEHOUSE_TRINO). With one it uses that server's
connector `tpch`. Runs endless statements, cancels each in the middle, and asks the server for its active statements
until the statement is none of them. Of a server on this machine, of its own or with the number of its process, the
processor time is watched as well until it stands still. Prints the median and the longest of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import trio

from lakehouse import Lake, open_lake
from lakehouse.config import parse_config
from tools.kit.processor_time import read_cpu, wait_until_idle
from tools.kit.scaleout import configure_warehouse, find_missing
from tools.kit.scaleout.object_storage import open_object_storage
from tools.kit.scaleout.postgres import open_postgres
from tools.kit.scaleout.trino import STILL, WINDOW, find_missing_trino, open_trino

STATEMENTS = (
    "SELECT /* {mark} */ count(*) FROM {large} a, {large} b WHERE a.{number} + b.{number} < 0",
    "SELECT /* {mark} */ a.{text}, b.{text} FROM {large} a CROSS JOIN {small} b",
)
"""One that computes and gives no rows for hours, and one whose rows nobody waits for."""
TPCH = {"large": "lineitem", "small": "nation", "number": "orderkey", "text": "comment"}
OWN = {"large": "numbers", "small": "numbers", "number": "id", "text": "word"}
"""The tables of the statements, and columns that both have."""
ROWS = 1_000_000
LIMIT = 60.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server, the lake whose statements it runs, and its tables."""

    url: str
    pid: int | None
    trino: Mapping[str, str]
    tables: Mapping[str, str]
    lake: Mapping[str, object]


class Server:
    """The Trino server, as its own list of statements shows it."""

    def __init__(self, client: httpx.AsyncClient, pid: int | None) -> None:
        self._client = client
        self._pid = pid

    async def find_state(self, mark: str) -> str:
        """The state of a statement; empty if the server does not list it as active."""
        queries = (await self._client.get("/v1/query", headers={"x-trino-user": "lakehouse"})).json()
        found = (query["state"] for query in queries if mark in query["query"])
        return next((state for state in found if state not in ("FINISHED", "FAILED")), "")

    async def wait_state(self, mark: str, *states: str) -> None:
        """Wait until a statement has one of the states."""
        with trio.fail_after(LIMIT):
            while await self.find_state(mark) not in states:
                await trio.sleep(0.005)

    async def wait_still(self, began: float) -> float:
        """Seconds until the process hardly uses a processor."""
        assert self._pid is not None
        with trio.fail_after(LIMIT):
            return await wait_until_idle([self._pid], began, window=WINDOW, most=STILL)

    def read_processor_time(self) -> float:
        """Seconds of the processor that the process has used."""
        return 0.0 if self._pid is None else read_cpu([self._pid])

    @property
    def has_process(self) -> bool:
        """Whether its process is on this machine."""
        return self._pid is not None


async def leave_one(lake: Lake, server: Server, number: int, tables: Mapping[str, str]) -> tuple[float, float, float]:
    """Leave one statement in the middle.

    Milliseconds until it was gone, and until the server stood still; and those of the processor that it had used.
    """
    mark = f"lakehouse-{os.getpid()}-{number}-"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, lake, STATEMENTS[number % len(STATEMENTS)].format(mark=mark, **tables))
        await server.wait_state(mark, "RUNNING")
        before = server.read_processor_time()
        await trio.sleep(1)
        worked = server.read_processor_time() - before
        left = time.perf_counter()
        nursery.cancel_scope.cancel()
    await server.wait_state(mark, "")
    gone = time.perf_counter() - left
    still = await server.wait_still(left) if server.has_process else 0.0
    return gone * 1000, still * 1000, worked * 1000


async def run(lake: Lake, sql: str) -> None:
    """Run a statement whose rows are not kept."""
    async with lake.export_sql(sql, format="csv", engine="trino") as pieces:
        async for _ in pieces:
            pass


async def measure(target: Target, rounds: int) -> None:
    """Print what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        queryd = {"trino": {**target.trino, "url": target.url}}
        config, _ = parse_config({"lake": {**target.lake, "path": folder}, "queryd": queryd})
        async with open_lake(config) as lake, httpx.AsyncClient(base_url=target.url, timeout=LIMIT) as client:
            if target.tables is OWN:
                rows = "".join(f"{number},word {number % 1000}\n" for number in range(ROWS))
                await lake.ingest("numbers", f"id,word\n{rows}".encode())
            server = Server(client, target.pid)
            await lake.sql("SELECT 1", engine="trino")
            found = [await leave_one(lake, server, number, target.tables) for number in range(rounds)]
    columns = list(zip(*found, strict=True))
    for name, times in zip(("statement gone", "server still"), columns[: 1 + server.has_process], strict=False):
        print(f"{name:16} median {statistics.median(times):6.0f} ms   longest {max(times):6.0f} ms   of {len(times)}")
    if server.has_process:
        print(f"in the second before its client left each used a processor for {min(columns[2]):.0f} ms and more")


@contextmanager
def open_own() -> Iterator[Target]:
    """Start a server over a lake for the length of the block."""
    if missing := [*find_missing(), *find_missing_trino()]:
        sys.exit(f"not there: {', '.join(missing)}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        storage = stack.enter_context(open_object_storage(folder / "s3"))
        lake = configure_warehouse(folder, storage, stack.enter_context(open_postgres(folder / "postgres")))
        server = stack.enter_context(open_trino(folder / "trino", lake, storage))
        yield Target(url=server.url, pid=server.pid, trino={}, tables=OWN, lake=lake)


def main(arguments: argparse.Namespace) -> None:
    """Measure on the server that is given, or on one of its own."""
    if not arguments.url:
        with open_own() as target:
            trio.run(measure, target, arguments.rounds)
        return
    names = {"catalog": arguments.catalog, "schema": arguments.schema}
    given = Target(url=arguments.url, pid=arguments.pid, trino=names, tables=TPCH, lake={})
    trio.run(measure, given, arguments.rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="of the coordinator, without authentication")
    parser.add_argument("--pid", type=int, help="of the server's process, if that is on this machine")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--catalog", default="tpch")
    parser.add_argument("--schema", default="sf100")
    main(parser.parse_args())
