"""SQL on Trino over the lake's own tables, beside the services that own them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from lakehouse.asgi.in_process import call_app
from lakehouse.core.errors import ErrBadRequest, ErrTimeout
from tests.services.conformance.lakes import open_embedded
from tests.services.warehouse.two_services import Service, open_service
from tools.kit.scaleout.trino import Trino

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
ENDLESS = "SELECT count(*) FROM numbers a, numbers b, numbers c WHERE a.id + b.id + c.id < 0"
MERGE = """
MERGE INTO shared t USING (VALUES (5, 'merged'), (6, 'f')) s(id, word) ON t.id = s.id
WHEN MATCHED THEN UPDATE SET word = s.word WHEN NOT MATCHED THEN INSERT (id, word) VALUES (s.id, s.word)
"""
NUMBERS = "\n".join(f"{number},w{number % 7}" for number in range(20_000))


@asynccontextmanager
async def open_on(server: Trino, folder: Path) -> AsyncIterator[Service]:
    """A service with a folder of its own, whose statements run on the server."""
    lake = {**server.lake, "query_timeout": "120s"}
    async with open_service(folder, lake, queryd={"engine": "trino", "trino": {"url": server.url}}) as service:
        yield service


@pytest.fixture
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    async with open_on(request.getfixturevalue("trino"), tmp_path / "lake") as service:
        yield service


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Trino:
    found: Trino = request.getfixturevalue("trino")
    return found


def make_every_type() -> bytes:
    """A Parquet file with a column of each type of a table, a row of values and one of nulls."""
    import pyarrow as pa  # here: it is of the extra `lake`
    import pyarrow.parquet as pq

    columns = {
        "a_boolean": (pa.bool_(), True),
        "an_integer": (pa.int32(), -(2**31)),
        "a_bigint": (pa.int64(), 2**53 + 1),
        "a_float": (pa.float32(), 0.1),
        "a_double": (pa.float64(), float("nan")),
        "a_decimal": (pa.decimal128(38, 9), Decimal("12345678901234567890123456789.123456789")),
        "a_text": (pa.string(), 'it\'s "é" \\ \n'),
        "a_blob": (pa.binary(), b"\x00\xff"),
        "a_date": (pa.date32(), date(2024, 2, 29)),
        "a_timestamp": (pa.timestamp("us"), datetime(2024, 2, 29, 12, 0, 0, 123456)),
        "a_moment": (pa.timestamp("us", "UTC"), datetime(2024, 2, 29, 12, 0, 0, 123456, UTC)),
        "a_list": (pa.list_(pa.decimal128(3, 1)), [Decimal("1.5"), None]),
        "a_map": (pa.map_(pa.string(), pa.int64()), [("k", 2**53 + 1)]),
        "a_struct": (
            pa.struct([("x", pa.int64()), ("y z", pa.list_(pa.date32()))]),
            {"x": 1, "y z": [date(2024, 2, 29)]},
        ),
    }
    arrays = {name: pa.array([value, None], kind) for name, (kind, value) in columns.items()}
    pq.write_table(pa.table({"id": pa.array([1, 2], pa.int64()), **arrays}), output := BytesIO())
    return output.getvalue()


async def ask_both(service: Service, statement: str) -> dict[str, Any]:
    """The columns and rows of a statement, which are the same on both engines."""
    answers = [await service.ask(statement, engine=engine) for engine in ("trino", "duckdb")]
    one, other = ({name: answer[name] for name in ("columns", "rows")} for answer in answers)
    assert one == other
    return one


def read_table(data: bytes, form: str) -> Any:
    """The table of an answer."""
    import pyarrow as pa  # here: as above
    import pyarrow.parquet as pq

    return pq.read_table(BytesIO(data)) if form == PARQUET else pa.ipc.open_stream(data).read_all()


async def fetch(service: Service, statement: str, engine: str, form: str) -> bytes:
    """The bytes of an answer in a form."""
    headers = [("content-type", "application/json"), ("accept", form)]
    body = msgspec.json.encode({"sql": statement, "engine": engine})
    async with call_app(service.apps["queryd"], "POST", "/sql", headers=headers, body=body) as answer:
        assert answer.status == 200
        return await answer.read()


async def test_each_type_of_a_table_comes_out_as_from_duckdb(cluster: Service) -> None:
    await cluster.call("ingestd", "POST", "/ingest?name=every_type", make_every_type())
    statement = "SELECT * FROM every_type ORDER BY id"
    answer = await ask_both(cluster, statement)
    assert len(answer["columns"]) == 15
    assert answer["rows"][1] == [2, *[None] * 14]
    for form in ("application/x-ndjson", "text/csv"):
        texts = [await fetch(cluster, statement, engine, form) for engine in ("trino", "duckdb")]
        assert texts[0] == texts[1]
    for form in (ARROW, PARQUET):
        one, other = [read_table(await fetch(cluster, statement, engine, form), form) for engine in ("trino", "duckdb")]
        assert one.schema == other.schema
        assert repr(one.to_pylist()) == repr(other.to_pylist())  # NaN equals nothing


async def test_columns_that_change_are_seen(cluster: Service) -> None:
    await cluster.ingest("changing", "1,a\n2,b")
    snapshot = (await cluster.call("catalogd", "GET", "/catalog/manifest/changing"))["snapshot_id"]
    for change in (
        {"add": [{"name": "more", "type": "INTEGER"}]},
        {"rename": {"word": "text"}},
        {"widen": {"more": "BIGINT"}},
    ):
        await cluster.post("catalogd", "/catalog/tables/changing/columns", change)
        await ask_both(cluster, "SELECT * FROM changing ORDER BY id")
    await cluster.call("ingestd", "POST", "/ingest?name=changing&mode=append", b"id,text,more\n3,c,7\n")
    assert (await ask_both(cluster, "SELECT text, more FROM changing ORDER BY id"))["rows"] == [
        ["a", None],
        ["b", None],
        ["c", 7],
    ]
    await cluster.post("catalogd", "/catalog/tables/changing/columns", {"drop": ["text"]})
    assert (await ask_both(cluster, "SELECT * FROM changing ORDER BY id"))["rows"] == [[1, None], [2, None], [3, 7]]
    past = await cluster.sql(f"SELECT word FROM changing FOR VERSION AS OF {snapshot} ORDER BY id")
    assert past == [["a"], ["b"]]


async def test_what_trino_and_two_services_write_is_seen_by_all(
    cluster: Service, server: Trino, tmp_path: Path
) -> None:
    """Trino deletes by position, which the services read, and on top of which they write."""
    statement = "SELECT id, word FROM shared ORDER BY id"
    async with open_on(server, tmp_path / "other") as other:
        await cluster.ingest("shared", "1,a\n2,b\n3,c")
        for sql in (
            "INSERT INTO shared VALUES (4, 'd'), (5, 'e')",
            "DELETE FROM shared WHERE id = 2",
            "UPDATE shared SET word = 'changed' WHERE id = 3",
            MERGE,
        ):
            await trio.to_thread.run_sync(server.run, sql)
        expected = [[1, "a"], [3, "changed"], [4, "d"], [5, "merged"], [6, "f"]]
        for service in (cluster, other):
            assert (await ask_both(service, statement))["rows"] == expected
        await other.ingest("shared", "1,upsert\n7,g", "&mode=upsert&key=id")
        await trio.to_thread.run_sync(server.run, "ALTER TABLE shared EXECUTE optimize")
        for service in (cluster, other):
            assert (await ask_both(service, statement))["rows"] == [[1, "upsert"], *expected[1:], [7, "g"]]


async def test_what_is_refused_and_what_is_not(cluster: Service) -> None:
    await cluster.ingest("refused", "1,a")
    for statement in (
        "SELECT * FROM no_such_table",
        "SELECT * FROM no_such_schema.t",
        "SELECT no_such_column FROM refused",
        "SELECT 1 / 0",
        "SELECT CAST('x' AS integer)",
        "SELECT * FROM refused FOR VERSION AS OF 1",
    ):
        with pytest.raises(ErrBadRequest):
            await cluster.sql(statement)
    assert await cluster.sql("SELECT word FROM refused WHERE id = ? AND word = ?;", params=[1, "a"]) == [["a"]]
    assert await cluster.sql("SHOW TABLES LIKE 'refused'") == [["refused"]]
    assert await cluster.sql("EXPLAIN SELECT * FROM refused")


async def test_a_statement_that_is_left_or_late_ends_on_the_server(cluster: Service, server: Trino) -> None:
    """By the server's own list, and by its processor time, which is all that counts."""
    await cluster.ingest("numbers", NUMBERS)
    with trio.move_on_after(5) as left:
        await cluster.sql(ENDLESS)
    assert left.cancelled_caught
    await wait_until_gone(server)
    with pytest.raises(ErrTimeout):
        await cluster.sql(ENDLESS, timeout=2)
    await wait_until_gone(server)
    assert await cluster.sql("SELECT 2") == [[2]]


async def test_a_server_that_is_silent_is_an_error_in_time_and_answers_later(cluster: Service, server: Trino) -> None:
    await cluster.ingest("numbers", NUMBERS)
    assert await cluster.sql("SELECT count(*) FROM numbers") == [[20_000]]
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_later, server.pid)
            with trio.fail_after(15), pytest.raises(ErrTimeout):
                await cluster.sql(ENDLESS, timeout=5)
        with trio.fail_after(15), pytest.raises(ErrTimeout):
            await cluster.sql("SELECT 1", timeout=3)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert await cluster.sql("SELECT 2") == [[2]]
    await wait_until_gone(server)


async def _stop_later(pid: int) -> None:
    await trio.sleep(2)
    os.kill(pid, signal.SIGSTOP)


async def wait_until_gone(server: Trino) -> None:
    with trio.fail_after(20):
        while await trio.to_thread.run_sync(server.list_active):
            await trio.sleep(0.05)
        await server.wait_until_idle()


async def test_a_statement_of_a_service_that_was_killed_ends_on_the_server(server: Trino, tmp_path: Path) -> None:
    """Nobody cancels it: the server gives it up when nobody has asked for its next page (query.client.timeout)."""
    tables = {"lake": server.lake, "queryd": {"engine": "trino"}, "queryd.trino": {"url": server.url}}
    with open_embedded(tmp_path, tables) as lake:
        lake.through("ingestd").request("POST", "/ingest?name=numbers", content=f"id,word\n{NUMBERS}\n".encode())

        def ask() -> None:
            with suppress(httpx.TransportError):
                lake.through("queryd").request("POST", "/sql", json={"sql": ENDLESS})

        asking = threading.Thread(target=ask)
        asking.start()
        with trio.fail_after(30):
            while not await trio.to_thread.run_sync(server.list_active):
                await trio.sleep(0.05)
        lake.kill()
        await wait_until_gone(server)
        await trio.to_thread.run_sync(asking.join)
