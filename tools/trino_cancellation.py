"""How soon is a statement gone from a Trino cluster when the client leaves, and how soon does the cluster stand still?

    python -m tools.trino_cancellation URL [--pid PID] [--rounds N] [--catalog NAME] [--schema NAME]

Runs endless statements over the connector `tpch` through a lake of its own, cancels each in the middle, and asks the
server for its active statements until the statement is none of them. With the number of the server's process on this
machine, its processor time is watched as well until it stands still. Prints the median and the longest of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import trio

from lakehouse import Lake, open_lake
from lakehouse.config import parse_config

STATEMENTS = (
    "SELECT /* {mark} */ count(*) FROM lineitem a, lineitem b WHERE a.orderkey + b.orderkey < 0",
    "SELECT /* {mark} */ a.comment, b.comment FROM lineitem a CROSS JOIN nation b",
)
"""One that computes and gives no rows for hours, and one whose rows nobody waits for."""
TICK = 1 / os.sysconf("SC_CLK_TCK")
WINDOW, STILL = 0.2, 0.06
"""Seconds of a window, and of processor time in it with which an idle virtual machine of Java is content."""
LIMIT = 60.0


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

    async def wait_still(self) -> None:
        """Wait for the end of the first window in which the process has hardly used a processor."""
        with trio.move_on_after(LIMIT):
            while True:
                before = self._read_processor_time()
                await trio.sleep(WINDOW)
                if self._read_processor_time() - before <= STILL:
                    return

    def _read_processor_time(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK

    @property
    def has_process(self) -> bool:
        """Whether its process is on this machine."""
        return self._pid is not None


async def leave_one(lake: Lake, server: Server, number: int) -> tuple[float, float]:
    """Leave one statement in the middle; milliseconds until it was gone, and until the server stood still."""
    mark = f"lakehouse-{os.getpid()}-{number}-"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, lake, STATEMENTS[number % len(STATEMENTS)].format(mark=mark))
        await server.wait_state(mark, "RUNNING")
        await trio.sleep(0.5)
        left = time.perf_counter()
        nursery.cancel_scope.cancel()
    await server.wait_state(mark, "")
    gone = time.perf_counter() - left
    if server.has_process:
        await server.wait_still()
    return gone * 1000, (time.perf_counter() - left - WINDOW) * 1000


async def run(lake: Lake, sql: str) -> None:
    """Run a statement whose rows are not kept."""
    async with lake.export_sql(sql, format="csv", engine="trino") as pieces:
        async for _ in pieces:
            pass


async def main(arguments: argparse.Namespace) -> None:
    """Print what was measured."""
    trino_table = {"url": arguments.url, "catalog": arguments.catalog, "schema": arguments.schema}
    with tempfile.TemporaryDirectory() as folder:
        config, _ = parse_config({"lake": {"path": folder}, "queryd": {"trino": trino_table}})
        async with open_lake(config) as lake, httpx.AsyncClient(base_url=arguments.url, timeout=LIMIT) as client:
            server = Server(client, arguments.pid)
            await lake.sql("SELECT 1", engine="trino")
            found = [await leave_one(lake, server, number) for number in range(arguments.rounds)]
    columns = list(zip(*found, strict=True))
    for name, times in zip(("statement gone", "server still"), columns[: 1 + server.has_process], strict=False):
        print(f"{name:16} median {statistics.median(times):6.0f} ms   longest {max(times):6.0f} ms   of {len(times)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="of the coordinator, without authentication")
    parser.add_argument("--pid", type=int, help="of the server's process, if that is on this machine")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--catalog", default="tpch")
    parser.add_argument("--schema", default="sf100")
    trio.run(main, parser.parse_args())
