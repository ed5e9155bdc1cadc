"""An engine on a server: the answers have the forms and values of the embedded engine, and nothing is left of a query.

The server is DuckDB in the place of a client (`remote_sources`), behind the real child and queryd over HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nanoarrow as na
import pytest
import trio

from lakehouse.services.engines.remote.client import Client, ServerVersion
from lakehouse.services.engines.remote.configured import RemoteEngines
from lakehouse.services.engines.remote.dialects import SPARK
from lakehouse.services.engines.remote.secrets import Secrets
from lakehouse.services.engines.remote_messages import SourceSettings
from tests.services.engines.remote_kit import ARROW, CSV, NDJSON, PARQUET, RemoteSql, open_remote_sql
from tests.services.queryd.values import VALUES

SOURCE = "tests.services.engines.remote_sources:DuckdbSource"
TESTS = str(Path(__file__).parents[3])
"""The folder from which `SOURCE` is imported. Python lists it, too, when something in it has changed."""
NOT_OF_ARROW = ("HUGEINT", "BIT", "ENUM", "UUID", "JSON")
"""Types of DuckDB that it gives to Arrow as others."""


async def no_version(_secrets: Secrets) -> ServerVersion:
    """The server does not say it."""
    raise NotImplementedError


@asynccontextmanager
async def open_sql(path: Path, *, timeout: float = 30.0) -> AsyncIterator[RemoteSql]:
    """Serve queryd with the embedded engine and the one on a server."""
    settings = SourceSettings(source=SOURCE, catalog="lake")
    client = Client(dialect=SPARK, settings=settings, max_queries=1, files=(TESTS,), read_version=no_version)
    async with open_remote_sql(
        path, client, engine="spark", secrets={"SPARK_TOKEN": "s3cret-word"}, timeout=timeout
    ) as sql:
        yield sql


@pytest.fixture
async def sql(tmp_path: Path) -> AsyncIterator[RemoteSql]:
    async with open_sql(tmp_path) as sql:
        yield sql


async def test_values_have_the_forms_of_the_embedded_engine(sql: RemoteSql) -> None:
    """In each format, byte for byte."""
    shared = [expression for expression, kind, _ in VALUES if not kind.startswith(NOT_OF_ARROW)]
    assert len(shared) > 30
    every = "SELECT " + ", ".join(f"{expression} AS v{index}" for index, expression in enumerate(shared))
    for accept in (NDJSON, CSV):
        there, here = await sql.post(every, accept), await sql.post(every, accept, "duckdb")
        assert there.status_code == 200, there.text
        assert there.content == here.content
    there, here = (await sql.post(every)).json(), (await sql.post(every, engine="duckdb")).json()
    assert there["columns"] == here["columns"]
    assert there["rows"] == here["rows"]
    assert there["scanned"] == {"rows": 7, "bytes": 70}


async def test_an_engine_without_its_packages_says_how_to_install_them(tmp_path: Path) -> None:
    settings = SourceSettings(source=SOURCE, catalog="lake")
    client = Client(
        dialect=SPARK,
        settings=settings,
        max_queries=1,
        files=(TESTS,),
        read_version=no_version,
        modules=("no_such_module",),
        extra="spark",
    )
    async with open_remote_sql(tmp_path, client, engine="spark", secrets={}) as sql:
        status, message = await sql.error("SELECT 1")
        assert status == 501
        assert "needs the extra `spark`, of which no_such_module cannot be found" in message


async def test_arrow_and_parquet_have_all_rows_and_names_that_repeat(sql: RemoteSql) -> None:
    statement = "SELECT i AS a, i::VARCHAR AS a FROM range(50000) t(i)"
    table = na.ArrayStream.from_readable((await sql.post(statement, ARROW)).content).read_all()
    assert (len(table), [field.name for field in table.schema.fields]) == (50_000, ["a", "a"])
    short = (await sql.post(statement, ARROW, max_rows=20_001)).content
    assert len(na.ArrayStream.from_readable(short).read_all()) == 20_001
    parquet = (await sql.post(statement, PARQUET)).content
    assert parquet[:4] == parquet[-4:] == b"PAR1"
    document = (await sql.post(statement, max_rows=3)).json()
    assert (document["row_count"], document["truncated"], len(document["rows"])) == (3, True, 3)


async def test_parameters_by_name_and_by_position(sql: RemoteSql) -> None:
    assert (await sql.post("SELECT ? + ?", params=[1, 2])).json()["rows"] == [[3]]
    assert (await sql.post("SELECT $a + $b", params={"a": 1, "b": 2})).json()["rows"] == [[3]]


async def test_what_a_request_may_not_ask_for(sql: RemoteSql) -> None:
    response = await sql.post("SELECT 1", engine="trino")
    assert response.status_code == 400
    assert response.json()["error"]["details"] == {"engines": ["duckdb", "remote"]}
    assert "`engine`" in response.json()["error"]["message"]
    assert (await sql.client.post("/sql", json={"sql": "SELECT 1"})).status_code == 200  # the default engine
    for path in ("/sql/engines", "/v1/sql/engines"):
        assert (await sql.client.get(path)).json() == {"engines": ["duckdb", "remote"], "default": "duckdb"}
    status, message = await sql.error("SELECT 1", snapshot="17")
    assert (status, "VERSION AS OF" in message) == (400, True)
    assert await sql.error("DROP TABLE x") == (403, "the statement is DROP: one statement that reads is run")
    response = await sql.post("SELECT * FORM x")
    assert (response.status_code, response.json()["error"]["details"]) == (400, {"position": 3})


async def test_failures_of_the_server_are_errors_without_secrets(sql: RemoteSql) -> None:
    assert await sql.error("SELECT 'server_is_gone'") == (502, "there is no server")
    late = await sql.post("SELECT i, 'fails_midway' FROM range(1000000) t(i)", NDJSON)
    *rows, last = late.text.splitlines()
    assert 8_000 < len(rows) <= 30_000
    assert "the server has gone with the password ***" in last
    assert "s3cret" not in late.text
    status, message = await sql.error("SELECT 'child_ends'")
    assert (status, "ended during the call" in message) == (422, True)
    assert (await sql.post("SELECT 1")).json()["rows"] == [[1]]  # in a new process


async def test_a_client_that_leaves_has_its_statement_cancelled(sql: RemoteSql) -> None:
    """By the client of the server, in a process that is not replaced and takes the next statement."""
    await sql.post("SELECT 1")
    with trio.move_on_after(0.5):
        await sql.post("SELECT count(*) FROM range(10000000000000) t(i)")
    with trio.fail_after(10):
        while sql.pool.in_use:
            await trio.sleep(0.01)
    assert (sql.pool.idle, sql.pool.started) == (1, 1)
    assert (await sql.post("SELECT 1")).json()["rows"] == [[1]]


async def test_a_child_that_does_not_cancel_in_time_is_killed(sql: RemoteSql) -> None:
    await sql.post("SELECT 1")
    with trio.move_on_after(0.3):
        await sql.post("SELECT 'child_hangs'")
    with trio.fail_after(10):
        while sql.pool.in_use or sql.pool.idle:
            await trio.sleep(0.01)
        assert (await sql.post("SELECT 1")).json()["rows"] == [[1]]
    assert sql.pool.started == 2


async def test_the_time_limit(tmp_path: Path) -> None:
    async with open_sql(tmp_path, timeout=25) as sql:
        await sql.post("SELECT 1")
        status, message = await sql.error("SELECT count(*) FROM range(10000000000000) t(i)", timeout=0.3)
        assert (status, message) == (504, "the query did not end within 0.3 s (lake.query_timeout is 25 s)")
        assert (await sql.post("SELECT 1")).json()["rows"] == [[1]]


async def test_gauges_of_other_engines(sql: RemoteSql) -> None:
    assert tuple(RemoteEngines({}).gauges()) == ()
    await sql.post("SELECT 1")
    queries, waiting = sql.engines.gauges()
    assert list(queries.read()) == [(("remote", "busy"), 0), (("remote", "idle"), 1)]
    assert list(waiting.read()) == [(("remote",), 0)]
