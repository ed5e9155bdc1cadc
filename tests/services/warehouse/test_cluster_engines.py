"""SQL on Spark, Sail and a server of Flight SQL, beside the services that own the tables."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrUpstream, LakehouseError
from tests.services.real_servers import skip_without
from tests.services.warehouse.two_services import Service, open_service
from tools.kit.child_processes import is_alive
from tools.kit.processor_time import wait_until_idle
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.sail import Protocol, Sail, find_missing_sail, open_sail
from tools.kit.scaleout.spark import Spark

ENDLESS = "SELECT sum(hash(id, id * 3)) FROM range(0, 10000000000000)"
ENGINES = {"spark": "spark", "sail": "spark", "flight_sql": "flightsql"}
TYPES = {
    "CAST(1 AS TINYINT)": ("TINYINT", 1),
    "CAST(1 AS SMALLINT)": ("SMALLINT", 1),
    "1": ("INTEGER", 1),
    "CAST(9007199254740993 AS BIGINT)": ("BIGINT", "9007199254740993"),
    "CAST(1.5 AS FLOAT)": ("FLOAT", 1.5),
    "CAST('NaN' AS DOUBLE)": ("DOUBLE", "NaN"),
    "CAST('12345678901234567890.12' AS DECIMAL(38,2))": ("DECIMAL(38,2)", "12345678901234567890.12"),
    "true": ("BOOLEAN", True),
    "'a'": ("VARCHAR", "a"),
    "X'00FF'": ("BLOB", "AP8="),
    "DATE '2020-02-29'": ("DATE", "2020-02-29"),
    "TIMESTAMP '2020-02-29 12:00:00.123456'": ("TIMESTAMP WITH TIME ZONE", "2020-02-29 12:00:00.123456+00"),
    "TIMESTAMP_NTZ '2020-02-29 12:00:00'": ("TIMESTAMP", "2020-02-29 12:00:00"),
    "INTERVAL '1 02:03:04' DAY TO SECOND": ("INTERVAL", "26:03:04"),
    "array(1, 2)": ("INTEGER[]", [1, 2]),
    "map('k', 1)": ("MAP(VARCHAR, INTEGER)", [{"key": "k", "value": 1}]),
    "named_struct('x', 1, 'y', 'z')": ("STRUCT(x INTEGER, y VARCHAR)", {"x": 1, "y": "z"}),
}
"""Each expression with its type and value in an answer, as docs/scale.md has them."""


@asynccontextmanager
async def open_on(folder: Path, server: Spark | Sail, engine: str, timeout: str = "120s") -> AsyncIterator[Service]:
    """A service whose statements run on a server."""
    name = ENGINES[engine]
    lake = {**server.lake, "query_timeout": timeout}
    async with open_service(folder, lake, queryd={"engine": name, name: {"url": server.url}}) as service:
        yield service


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def cluster(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> AsyncIterator[Service]:
    async with open_on(tmp_path / "lake", request.getfixturevalue(engine), engine) as service:
        yield service


async def test_types_come_out_as_documented(cluster: Service, engine: str) -> None:
    named = ", ".join(f"{expression} AS v{number}" for number, expression in enumerate(TYPES))
    answer = await cluster.ask(f"SELECT {named}")
    types = [column["type"] for column in answer["columns"]]
    assert dict(zip(TYPES, zip(types, answer["rows"][0], strict=True), strict=True)) == TYPES
    if engine != "flight_sql":  # of which the types are not known before it runs
        with pytest.raises(ErrBadRequest, match=r"CAST\(months AS STRING\)"):
            await cluster.sql("SELECT INTERVAL '1-2' YEAR TO MONTH AS months")


async def test_what_is_refused_and_what_is_not(cluster: Service) -> None:
    for statement in (
        "SELECT * FROM no_such_table",
        "SELECT no_such_column",
        "SELECT 1 / 0",
        "SELECT CAST('x' AS INT)",
    ):
        with pytest.raises(ErrBadRequest):
            await cluster.sql(statement)
    assert await cluster.sql("SELECT 1;") == [[1]]
    assert await cluster.sql("EXPLAIN SELECT 1")


@pytest.mark.parametrize("engine", ["flight_sql"])
async def test_a_server_without_parameters_says_so(cluster: Service) -> None:
    """Whatever the values are: this one knows no prepared statements."""
    for statement, params in (
        ("SELECT ?", [1]),
        ("SELECT ? + $2", ["a", None]),
        ("SELECT 1", [True]),
        ("SELECT ? FROM nowhere", [1.5]),
        ("SELECT ?", ["\0" + "x" * 100_000]),
        ("SELECT ?", list(range(3000))),
    ):
        with pytest.raises(ErrBadRequest, match=r"flightsql\.url takes no parameters, so write their values into the"):
            await cluster.sql(statement, params=params)
    for refused, problem in (
        ([1, 2**70], "parameter 2 is a number of more than 64 bits"),
        ([[1]], "parameter 1 is an array or an object"),
        ([{"a": 1}], "parameter 1 is an array or an object"),
        ({"a": 1}, "`params` must be an array"),
    ):
        with pytest.raises(ErrBadRequest, match=problem):
            await cluster.sql("SELECT ?", params=refused)
    with pytest.raises(ErrBadRequest, match="not provided"):
        await cluster.sql("SELECT ?", params=[])
    assert await cluster.sql("SELECT 1", params=[]) == [[1]]
    assert await cluster.sql("SELECT 2", params={}) == [[2]]


async def test_a_statement_that_is_left_or_late_ends_on_the_server(
    request: pytest.FixtureRequest, cluster: Service, engine: str
) -> None:
    """By the processor time of the server, which is all that counts."""
    server: Spark | Sail = request.getfixturevalue(engine)
    await cluster.sql("SELECT 1")
    with trio.move_on_after(3):
        await cluster.sql(ENDLESS)
    with trio.fail_after(20):
        await wait_until_idle([server.pid])
    with pytest.raises(ErrTimeout):
        await cluster.sql(ENDLESS, timeout=2)
    with trio.fail_after(20):
        await wait_until_idle([server.pid])
    assert await cluster.sql("SELECT 2") == [[2]]


async def test_a_silent_server_is_an_error_in_time_and_answers_when_it_goes_on(
    request: pytest.FixtureRequest, cluster: Service, engine: str, tmp_path: Path
) -> None:
    """At the time limit for a service that was connected, and for a new one; nothing is started again."""
    server: Spark | Sail = request.getfixturevalue(engine)
    assert await cluster.sql("SELECT 1") == [[1]]
    async with open_on(tmp_path / "new", server, engine) as new:
        with stopped(server.pid):
            async with trio.open_nursery() as nursery:
                for service in (cluster, new):
                    nursery.start_soon(_fail_in_time, service, ErrTimeout, 3.0)
        for service in (cluster, new):
            assert await _ask_until_answered(service, "SELECT 2") == [[2]]
    assert is_alive(server.pid)
    with trio.fail_after(20):
        await wait_until_idle([server.pid])


async def test_a_silent_spark_is_told_from_a_slow_statement(spark: Spark, tmp_path: Path) -> None:
    """A new connection that is not answered is an error long before the time limit of the statement."""
    async with open_on(tmp_path / "lake", spark, "spark") as service:
        with stopped(spark.pid):
            await _fail_in_time(service, ErrUpstream, 100.0, within=30.0)
        assert await _ask_until_answered(service, "SELECT 1") == [[1]]


@pytest.mark.parametrize("protocol", ["spark", "flight"])
async def test_a_server_that_is_killed_is_an_error_and_its_successor_answers(
    protocol: Protocol, tmp_path: Path, object_storage: ObjectStorage, rest_lake: dict[str, object]
) -> None:
    skip_without(find_missing_sail())
    engine = "sail" if protocol == "spark" else "flight_sql"
    with open_sail(tmp_path / "one", protocol, rest_lake, object_storage) as first:
        async with open_on(tmp_path / "lake", first, engine) as service:
            assert await service.sql("SELECT 1") == [[1]]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_kill_later, first.pid)
                with trio.fail_after(30), pytest.raises(ErrUpstream, match="not available"):
                    await service.sql(ENDLESS)
            with trio.fail_after(30), pytest.raises(ErrUpstream, match="not available"):
                await service.sql("SELECT 1")
            with open_sail(tmp_path / "two", protocol, rest_lake, object_storage, port=first.port):
                assert await _ask_until_answered(service, "SELECT 2") == [[2]]


@contextmanager
def stopped(group: int) -> Iterator[None]:
    """The processes of a group stand still for the length of the block; their connections stay open."""
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


async def _fail_in_time(
    service: Service, error: type[LakehouseError], timeout: float, *, within: float | None = None
) -> None:
    """A statement with a time limit fails with an error, soon after the limit or in the time that is given."""
    with trio.fail_after(within or timeout + 10), pytest.raises(error, match=r"did not end|not available"):
        await service.sql("SELECT 1", timeout=timeout)


async def _kill_later(pid: int) -> None:
    await trio.sleep(2)
    os.killpg(pid, signal.SIGKILL)


async def _ask_until_answered(service: Service, sql: str) -> list[list[Any]]:
    with trio.fail_after(60):
        while True:
            with suppress(LakehouseError):
                return await service.sql(sql, timeout=20)
            await trio.sleep(0.5)
