"""Engines of SQL: the embedded one, and those on servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from tools.kit.engine_leaving.engines import Engine, Setup
from tools.kit.engine_leaving.left_work import Work, make_request
from tools.kit.scaleout import configure_rest_catalog, configure_warehouse, find_missing, find_missing_clients
from tools.kit.scaleout.object_storage import open_object_storage
from tools.kit.scaleout.postgres import open_postgres
from tools.kit.scaleout.sail import Protocol, find_missing_sail, open_sail
from tools.kit.scaleout.spark import find_missing_spark, open_spark
from tools.kit.scaleout.trino import find_missing_trino, open_trino

IN_DUCKDB = {
    "a scan": "SELECT sum(hash(range, range * 3)) FROM range(10000000000000)",
    "a join": "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE hash(a.range) = hash(b.range)",
}
IN_SPARK = {
    "a scan": "SELECT sum(hash(id, id * 3)) FROM range(0, 10000000000000)",
    "a join": "SELECT count(*) FROM range(0, 200000) a JOIN range(0, 200000) b ON hash(a.id, b.id) = 12345",
}
IN_TRINO = {
    "a scan": "SELECT sum(sequential_number % 7) FROM TABLE(sequence(start => 1, stop => 10000000000000))",
    "a join": "SELECT count(*) FROM numbers a, numbers b, numbers c WHERE a.id + b.id + c.id < 0",
}
"""A scan, and a join whose operator takes the processor for seconds at a time; in Trino over a table of the lake."""
FIRST, LAST = 1.0, 3.0
"""Seconds after which a statement on a server is left."""


def make_works(engine: str, statements: Mapping[str, str], *, first: float = FIRST, last: float = LAST) -> list[Work]:
    """A request for each statement."""
    return [
        Work(name=name, requests=[make_request("/v1/sql", {"sql": sql, "engine": engine})], first=first, last=last)
        for name, sql in statements.items()
    ]


def open_duckdb(folder: Path, _stack: ExitStack) -> Setup:
    """The embedded engine, over a folder."""
    return Setup(
        tables={"lake": {"path": str(folder / "lake")}},
        works=make_works("duckdb", IN_DUCKDB, first=0.5, last=1.5),
        before=[make_request("/v1/sql", {"sql": "SELECT 1"})],
    )


def open_cluster_of_spark(folder: Path, stack: ExitStack) -> Setup:
    """Spark over S3 and PostgreSQL."""
    storage = stack.enter_context(open_object_storage(folder / "s3"))
    postgres = stack.enter_context(open_postgres(folder / "postgres"))
    lake = configure_warehouse(folder, storage, postgres)
    server = stack.enter_context(open_spark(folder / "server", lake, storage))
    return _make_setup(folder, "spark", server.url, lake, server.pid)


def open_cluster_of_sail(protocol: Protocol, folder: Path, stack: ExitStack) -> Setup:
    """Sail over a REST catalog."""
    storage = stack.enter_context(open_object_storage(folder / "s3"))
    lake = configure_rest_catalog(folder, storage)
    server = stack.enter_context(open_sail(folder / "server", protocol, lake, storage))
    return _make_setup(folder, "spark" if protocol == "spark" else "flightsql", server.url, lake, server.pid)


def open_cluster_of_trino(folder: Path, stack: ExitStack) -> Setup:
    """Trino over S3 and PostgreSQL, and a table that it reads."""
    storage = stack.enter_context(open_object_storage(folder / "s3"))
    postgres = stack.enter_context(open_postgres(folder / "postgres"))
    lake = configure_warehouse(folder, storage, postgres)
    server = stack.enter_context(open_trino(folder / "server", lake, storage))
    setup = _make_setup(folder, "trino", server.url, lake, server.pid, statements=IN_TRINO)
    upload = make_request("/v1/ingest?name=numbers", [{"id": number} for number in range(20_000)])
    return replace(setup, before=[upload, *setup.before])


def _make_setup(
    folder: Path,
    engine: str,
    url: str,
    lake: Mapping[str, object],
    pid: int,
    *,
    statements: Mapping[str, str] = IN_SPARK,
) -> Setup:
    return Setup(
        tables={"lake": {**lake, "path": str(folder / "lake")}, f"queryd.{engine}": {"url": url}},
        works=make_works(engine, statements),
        pids=[pid],
        before=[make_request("/v1/sql", {"sql": "SELECT 1", "engine": engine})],
    )


def find_missing_for_spark() -> Sequence[str]:
    """What Spark needs and is not there."""
    return [*find_missing(), *find_missing_clients(), *find_missing_spark()]


def find_missing_for_sail() -> Sequence[str]:
    """What Sail needs and is not there."""
    return [*find_missing(), *find_missing_clients(), *find_missing_sail()]


def find_missing_for_trino() -> Sequence[str]:
    """What Trino needs and is not there."""
    return [*find_missing(), *find_missing_trino()]


CLUSTERS = {
    "duckdb": Engine(title="DuckDB", find_missing=list, open=open_duckdb),
    "spark": Engine(title="Spark", find_missing=find_missing_for_spark, open=open_cluster_of_spark),
    "trino": Engine(title="Trino", find_missing=find_missing_for_trino, open=open_cluster_of_trino),
    "sail": Engine(
        title="Sail, Spark Connect", find_missing=find_missing_for_sail, open=partial(open_cluster_of_sail, "spark")
    ),
    "flight_sql": Engine(
        title="Sail, Flight SQL", find_missing=find_missing_for_sail, open=partial(open_cluster_of_sail, "flight")
    ),
}
