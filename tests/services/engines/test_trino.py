"""The engine Trino over its protocol: forms and types, parameters, faults, and a statement that ends with its request."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import nanoarrow as na
import pytest
import trio

from lakehouse.config import Config, LakeTable, QuerydTable, TrinoTable
from lakehouse.core.errors import ErrUpstream
from lakehouse.services.engines.remote.secrets import Secrets
from lakehouse.services.engines.remote.status import read_engine_statuses
from lakehouse.services.engines.remote.trino.client import make_trino
from lakehouse.services.engines.remote.trino.coordinator import Coordinator
from lakehouse.services.engines.remote.trino.statements import Statement
from tests.services.engines.remote_kit import ARROW, CSV, NDJSON, PARQUET, RemoteSql, open_remote_sql
from tests.services.engines.trino_stub import BIGINT, Answer, TrinoStub, column, signature
from tools.kit.gateway_services import serve_ours

SECRET = "s3cret-word"
TYPES: tuple[tuple[dict[str, object], object, str, object], ...] = (
    (signature("boolean"), True, "BOOLEAN", True),
    (signature("tinyint"), -128, "TINYINT", -128),
    (signature("smallint"), 1, "SMALLINT", 1),
    (signature("integer"), 2**31 - 1, "INTEGER", 2**31 - 1),
    (signature("bigint"), 2**53 + 1, "BIGINT", "9007199254740993"),
    (signature("bigint"), 2**53, "BIGINT", 2**53),
    (signature("real"), 0.1, "FLOAT", 0.1),
    (signature("double"), 5e-324, "DOUBLE", 5e-324),
    (signature("double"), "NaN", "DOUBLE", "NaN"),
    (signature("double"), "-Infinity", "DOUBLE", "-Infinity"),
    (signature("decimal", 3, 2), "1.50", "DECIMAL(3,2)", "1.50"),
    (signature("decimal", 38, 9), "12345678901234567890123456789.123456789", "DECIMAL(38,9)", "12345678901234567890123456789.123456789"),
    (signature("varchar", 2147483647), 'it\'s "é" \\ \n', "VARCHAR", 'it\'s "é" \\ \n'),
    (signature("char", 3), "a  ", "VARCHAR", "a  "),
    (signature("varbinary"), "AP9h", "BLOB", "AP9h"),
    (signature("date"), "2024-02-29", "DATE", "2024-02-29"),
    (signature("date"), "+12024-02-29", "DATE", "12024-02-29"),
    (signature("date"), "-0043-03-15", "DATE", "0044-03-15 (BC)"),
    (signature("time", 3), "12:00:00.120", "TIME", "12:00:00.12"),
    (signature("time", 12), "12:00:00.123456789012", "VARCHAR", "12:00:00.123456789012"),
    (signature("time with time zone", 3), "12:00:00.120+02:00", "TIME WITH TIME ZONE", "12:00:00.12+02"),
    (signature("timestamp", 6), "2024-02-29 12:00:00.123456", "TIMESTAMP", "2024-02-29 12:00:00.123456"),
    (signature("timestamp", 6), "+12024-02-29 12:00:00.123456", "TIMESTAMP", "12024-02-29 12:00:00.123456"),
    (signature("timestamp", 9), "2024-02-29 12:00:00.123456789", "TIMESTAMP_NS", "2024-02-29 12:00:00.123456789"),
    (signature("timestamp", 12), "2024-02-29 12:00:00.123456789012", "VARCHAR", "2024-02-29 12:00:00.123456789012"),
    (signature("timestamp with time zone", 3), "2024-07-01 12:00:00.120 Europe/Berlin", "TIMESTAMP WITH TIME ZONE", "2024-07-01 10:00:00.12+00"),
    (signature("timestamp with time zone", 3), "+12024-07-01 12:00:00.120 +02:00", "TIMESTAMP WITH TIME ZONE", "12024-07-01 10:00:00.12+00"),
    (signature("timestamp with time zone", 6), "2024-02-29 12:00:00.123456 UTC", "TIMESTAMP WITH TIME ZONE", "2024-02-29 12:00:00.123456+00"),
    (signature("timestamp with time zone", 3), "2024-02-29 12:00:00.000 +02:00", "TIMESTAMP WITH TIME ZONE", "2024-02-29 10:00:00+00"),
    (signature("interval year to month"), "-1-2", "INTERVAL", "-1 year -2 months"),
    (signature("interval day to second"), "2 03:04:05.678", "INTERVAL", "2 days 03:04:05.678"),
    (signature("interval day to second"), "-2 03:04:05.678", "INTERVAL", "-2 days -03:04:05.678"),
    (signature("uuid"), "123e4567-e89b-12d3-a456-426614174000", "UUID", "123e4567-e89b-12d3-a456-426614174000"),
    (signature("json"), '{"a": 9007199254740993}', "JSON", '{"a": 9007199254740993}'),
    (signature("unknown"), None, "NULL", None),
    (signature("ipaddress"), "10.0.0.1", "VARCHAR", "10.0.0.1"),
    (signature("array", signature("decimal", 3, 1)), ["1.5", None], "DECIMAL(3,1)[]", ["1.5", None]),
    (signature("array", signature("array", signature("double"))), [[1.5, "NaN"], None, []], "DOUBLE[][]", [[1.5, "NaN"], None, []]),
    (signature("map", signature("bigint"), signature("varchar")), {"1": "x", "2": None}, "MAP(BIGINT, VARCHAR)", [{"key": 1, "value": "x"}, {"key": 2, "value": None}]),
    (signature("map", signature("date"), signature("uuid")), {"2024-02-29": None}, "MAP(DATE, UUID)", [{"key": "2024-02-29", "value": None}]),
    (signature("row", ("a", signature("bigint")), ("b c", signature("row", (None, signature("varbinary"))))), [2**53 + 1, ["AP9h"]], 'STRUCT(a BIGINT, "b c" STRUCT(field0 BLOB))', {"a": "9007199254740993", "b c": {"field0": "AP9h"}}),
)  # fmt: skip
"""A type, a value in the protocol, the type of the answer, and its value in JSON."""


@asynccontextmanager
async def open_trino(path: Path, *, timeout: float = 30.0, **keys: Any) -> AsyncIterator[tuple[RemoteSql, TrinoStub]]:
    """queryd with Trino, and the server."""
    stub = TrinoStub()
    async with trio.open_nursery() as nursery:
        async with serve_ours(stub, nursery) as (address, port):
            stub.base = f"http://{address}:{port}"
            table = TrinoTable(**{"url": stub.base, "max_queries": 1, **keys})
            client = make_trino(QuerydTable(trino=table), LakeTable())
            secrets = {"TRINO_PASSWORD": SECRET}
            async with open_remote_sql(path, client, engine="trino", secrets=secrets, timeout=timeout) as sql:
                yield sql, stub
        nursery.cancel_scope.cancel()


async def find_free_port() -> int:
    """A port on which nothing listens."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port: int = listener.socket.getsockname()[1]
    return port


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[RemoteSql, TrinoStub]]:
    async with open_trino(tmp_path) as opened:
        yield opened


async def test_each_type_and_null_in_each_format(served: tuple[RemoteSql, TrinoStub]) -> None:
    sql, stub = served
    columns = [column(f"v{index}", kind) for index, (kind, _, _, _) in enumerate(TYPES)]
    stub.add("every type", columns, [[value for _, value, _, _ in TYPES], [None] * len(TYPES)])
    document = (await sql.post("SELECT 'every type'")).json()
    assert [column["type"] for column in document["columns"]] == [kind for _, _, kind, _ in TYPES]
    assert document["rows"] == [[expected for _, _, _, expected in TYPES], [None] * len(TYPES)]
    lines = (await sql.post("SELECT 'every type'", NDJSON)).text.splitlines()
    assert len(lines) == 2
    table = na.ArrayStream.from_readable((await sql.post("SELECT 'every type'", ARROW)).content).read_all()
    assert len(table) == 2
    positive = [number for number, (_, value, _, _) in enumerate(TYPES) if not str(value).startswith("-")]
    stub.add("for Parquet", [columns[number] for number in positive], [[TYPES[number][1] for number in positive]])
    assert (await sql.post("SELECT 'for Parquet'", PARQUET)).content[:4] == b"PAR1"  # which has no negative intervals


async def test_pages_are_streamed_and_counted(served: tuple[RemoteSql, TrinoStub]) -> None:
    """What the server is told, and what it said that it has read."""
    sql, stub = served
    stub.add("numbers", [BIGINT], [[1], [2]], [], [[3]])
    document = (await sql.post("SELECT 'numbers'")).json()
    assert (document["columns"], document["rows"]) == ([{"name": "n", "type": "BIGINT"}], [[1], [2], [3]])
    assert document["scanned"] == {"rows": 3, "bytes": 30}
    (statement,) = stub.statements
    sent = statement.headers
    assert sent["authorization"] == "Basic " + base64.b64encode(f"lakehouse:{SECRET}".encode()).decode()
    assert (sent["x-trino-user"], sent["x-trino-catalog"], sent["x-trino-schema"]) == ("lakehouse", "lake", "main")
    assert (sent["x-trino-source"], sent["x-trino-time-zone"]) == ("lakehouse", "UTC")
    assert sent["x-trino-session"] == "query_max_run_time=30.000s"
    assert sent["x-trino-client-capabilities"] == "PARAMETRIC_DATETIME"
    assert not statement.cancelled.is_set()
    assert (await sql.post("SELECT 'numbers'", CSV)).text == "n\r\n1\r\n2\r\n3\r\n"
    assert "warnings" not in document
    stub.warnings = [{"warningCode": {"code": 1, "name": "A"}, "message": "deprecated"}]
    stub.add("nothing", [BIGINT])
    document = (await sql.post("SELECT 'nothing'")).json()
    assert document["warnings"] == ["deprecated"]
    assert (document["columns"], document["rows"]) == ([{"name": "n", "type": "BIGINT"}], [])


def endless(stub: TrinoStub, word: str) -> None:
    """A statement that gives a row with each page and never ends."""

    async def page(number: int) -> dict[str, Any]:
        await trio.sleep(0.01)
        return {"columns": [BIGINT], "data": [[number]], "more": True} if number else {"more": True}

    stub.tables[word] = page


def silent(stub: TrinoStub, word: str) -> None:
    """A statement that runs and gives nothing."""

    async def page(number: int) -> dict[str, Any]:
        await trio.sleep(0.2 if number else 0)
        return {"more": True}

    stub.tables[word] = page


async def test_a_client_that_leaves_has_its_statement_cancelled(served: tuple[RemoteSql, TrinoStub]) -> None:
    """Before the first row, and in the middle of a stream; the next statement finds a free place."""
    sql, stub = served
    silent(stub, "silent")
    endless(stub, "endless")
    stub.add("numbers", [BIGINT], [[1]])
    async with sql.begin("SELECT 'silent'"):
        with trio.fail_after(20):
            while not (stub.statements and stub.statements[0].fetched):
                await trio.sleep(0.01)
    async with sql.begin("SELECT 'endless'") as stream:
        await stream.head()
        assert await stream.chunk()
    with trio.fail_after(20):
        for statement in stub.statements:
            await statement.cancelled.wait()
    assert len(stub.statements) == 2
    assert await sql.rows("SELECT 'numbers'") == [[1]]


async def test_a_statement_is_cancelled_at_its_time_limit_and_at_the_row_limit(
    served: tuple[RemoteSql, TrinoStub],
) -> None:
    sql, stub = served
    endless(stub, "endless")
    silent(stub, "silent")
    document = (await sql.post("SELECT 'endless'", max_rows=3)).json()
    assert (document["rows"], document["truncated"]) == ([[1], [2], [3]], True)
    status, message = await sql.error("SELECT 'silent'", timeout=0.5)
    assert (status, message) == (504, "the query did not end within 0.5 s (lake.query_timeout is 30 s)")
    assert [statement.cancelled.is_set() for statement in stub.statements] == [True, True]
    assert stub.statements[1].headers["x-trino-session"] == "query_max_run_time=0.500s"


async def test_parameters_are_bound_by_the_server(served: tuple[RemoteSql, TrinoStub]) -> None:
    sql, stub = served
    stub.add("numbers", [BIGINT], [[1]])
    await sql.rows("SELECT 'numbers', ?, ?, ?, ?, ?", params=["it's", -5, 1.5, None, 2**70])
    assert stub.statements[0].sql == (
        "EXECUTE IMMEDIATE 'SELECT ''numbers'', ?, ?, ?, ?, ?' USING 'it''s', -5, DOUBLE '1.5', NULL,"
        " DECIMAL '1180591620717411303424'"
    )
    assert await sql.error("SELECT 'numbers'", params={"a": 1}) == (
        400,
        "`params` must be an array: parameters of Trino have positions, written as ?",
    )
    status, message = await sql.error("SELECT ?", params=[[1]])
    assert (status, "params[0]" in message) == (400, True)
    for statement, params, place in (("SELECT 'nowhere', x", [], 19), ("SELECT 'nowhere', x, ?", [1], 37)):
        stub.fail("nowhere", message=f"line 1:{place}: Column 'x' cannot be resolved", errorType="USER_ERROR",
                  errorName="COLUMN_NOT_FOUND", errorLocation={"lineNumber": 1, "columnNumber": place})  # fmt: skip
        error = (await sql.post(statement, params=params)).json()["error"]
        assert error["details"] == {"trino_error": "COLUMN_NOT_FOUND", "position": 18}
        assert error["message"] == "line 1:19: Column 'x' cannot be resolved"


ERRORS = (
    ("USER_ERROR", "SYNTAX_ERROR", 400, "ErrBadRequest"),
    ("USER_ERROR", "PERMISSION_DENIED", 403, "ErrForbidden"),
    ("USER_ERROR", "USER_CANCELED", 422, "ErrUnprocessable"),
    ("INSUFFICIENT_RESOURCES", "EXCEEDED_GLOBAL_MEMORY_LIMIT", 422, "ErrUnprocessable"),
    ("INSUFFICIENT_RESOURCES", "EXCEEDED_TIME_LIMIT", 504, "ErrTimeout"),
    ("INSUFFICIENT_RESOURCES", "QUERY_QUEUE_FULL", 503, "ErrUnavailable"),
    ("INTERNAL_ERROR", "SERVER_SHUTTING_DOWN", 503, "ErrUnavailable"),
    ("INTERNAL_ERROR", "GENERIC_INTERNAL_ERROR", 502, "ErrUpstream"),
    ("EXTERNAL", "ICEBERG_CATALOG_ERROR", 502, "ErrUpstream"),
)
"""Type and name of an error, and what it is for the client."""


async def test_what_the_server_says_is_the_error(served: tuple[RemoteSql, TrinoStub]) -> None:
    sql, stub = served
    for error_type, name, status, code in ERRORS:
        stub.fail("fails", message="its own sentence", errorType=error_type, errorName=name)
        response = await sql.post("SELECT 'fails'")
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["details"]) == (status, code, {"trino_error": name})
        assert "its own sentence" in error["message"]


async def test_a_server_that_is_busy_refuses_or_talks_nonsense(served: tuple[RemoteSql, TrinoStub]) -> None:
    """A busy one is asked again; the others are errors without secrets, and the next statement finds it well."""
    sql, stub = served
    stub.add("numbers", [BIGINT], [[1]])
    with stub.faulty((503, [], b""), (502, [], b"<html>"), (429, [(b"retry-after", b"0")], b"")):
        assert await sql.rows("SELECT 'numbers'") == [[1]]
    assert len(stub.statements) == 1

    refusals: tuple[tuple[Answer, str], ...] = (
        ((401, [], b"Invalid credentials"), "TRINO_PASSWORD"),
        ((404, [], b""), "Trino answered 404"),
        ((200, [], b"<html>"), "a document that cannot be read"),
        ((200, [], b'{"nextUri": "http://169.254.169.254/v1/statement/1"}'), "another host for the next page"),
        ((200, [], b'{"nextUri": "%s/v2/x"}' % stub.base.encode()), "another path for the next page"),
    )
    for answer, words in refusals:
        with stub.faulty(answer):
            status, message = await sql.error("SELECT 'numbers'")
        assert (status, words in message, SECRET in message) == (502, True, False), message
    assert await sql.rows("SELECT 'numbers'") == [[1]]


async def test_a_statement_that_turns_out_to_write_is_cancelled(served: tuple[RemoteSql, TrinoStub]) -> None:
    sql, stub = served

    async def page(number: int) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"more": True, **({"updateType": "CREATE TABLE"} if number else {})}

    stub.tables["sneaky"] = page
    assert await sql.error("SELECT 'sneaky'") == (403, "the statement is CREATE TABLE: one statement that reads is run")
    assert stub.statements[0].cancelled.is_set()


async def test_a_server_that_is_not_there_and_comes_back(tmp_path: Path) -> None:
    """An error that says so; and nothing has to be started again."""
    stub, port = TrinoStub(), await find_free_port()
    stub.base = f"http://127.0.0.1:{port}"
    stub.add("numbers", [BIGINT], [[1]])
    client = make_trino(QuerydTable(trino=TrinoTable(url=stub.base, max_queries=1)), LakeTable())
    async with open_remote_sql(tmp_path, client, engine="trino", secrets={}) as sql:
        status, message = await sql.error("SELECT 'numbers'")
        assert (status, message) == (502, "Trino could not be connected to: Connection refused")
        async with trio.open_nursery() as nursery, serve_ours(stub, nursery, port=port):
            assert await sql.rows("SELECT 'numbers'") == [[1]]
        assert (await sql.error("SELECT 'numbers'"))[0] == 502


@pytest.mark.parametrize(
    ("sql", "params", "line", "column", "position"),
    [
        ("SELECT x", (), 1, 8, 7),
        ("SELECT 1,\n  x", (), 2, 3, 12),
        ("SELECT x", (1,), 1, 26, 7),
        ("SELECT 1,\n  x", (1,), 2, 3, 12),
        ("SELECT x", (), 5, 1, None),
        ("SELECT x", (), 1, 99, None),
    ],
)
def test_where_an_error_is(sql: str, params: tuple[object, ...], line: int, column: int, position: int | None) -> None:
    place = Statement(sql, params).locate(line, column)
    assert (None if place is None else place.position) == position


async def test_a_session_of_the_configuration_and_a_token(tmp_path: Path) -> None:
    async with open_trino(
        tmp_path, session={"query_priority": "1", "x.y": "a b,c"}, catalog="c", schema="s", user="u"
    ) as (
        sql,
        stub,
    ):
        stub.add("numbers", [BIGINT], [[1]])
        await sql.rows("SELECT 'numbers'", timeout="20s")
        sent = stub.statements[0].headers
        assert sent["x-trino-session"] == "query_priority=1,x.y=a%20b%2Cc,query_max_run_time=20.000s"
        assert (sent["x-trino-user"], sent["x-trino-catalog"], sent["x-trino-schema"]) == ("u", "c", "s")


async def test_secrets_leave_this_machine_over_tls_only() -> None:
    for url, is_sent in (
        ("http://trino.internal:8080", False),
        ("https://trino.internal", True),
        ("http://[::1]:1", True),
    ):
        with closing(Coordinator(TrinoTable(url=url, user="u"), "c")) as coordinator:
            assert dict(coordinator.make_authorization(Secrets()))
            for secrets in (Secrets(password=SECRET), Secrets(token=SECRET)):
                if is_sent:
                    assert b"authorization" in dict(coordinator.make_authorization(secrets))
                    continue
                with pytest.raises(ErrUpstream, match="not sent without TLS") as caught:
                    coordinator.make_authorization(secrets)
                assert SECRET not in str(caught.value)


async def test_the_version_of_the_server() -> None:
    """As `lakehouse check` shows it: which one, and whether it fits."""
    stub, port = TrinoStub(), await find_free_port()
    config = Config(queryd=QuerydTable(engine="trino", trino=TrinoTable(url=f"http://127.0.0.1:{port}")))
    (status,) = await read_engine_statuses(config, {})
    assert (status.name, status.default, status.fits, status.version) == ("trino", True, False, "")
    assert status.problem == "Trino could not be connected to: Connection refused"
    async with trio.open_nursery() as nursery, serve_ours(stub, nursery, port=port):
        (status,) = await read_engine_statuses(config, {})
        assert (status.version, status.fits, status.problem) == ("476", True, "")
        stub.version = "417"
        (status,) = await read_engine_statuses(config, {})
        assert (status.version, status.fits, status.needed) == ("417", False, "418 or later")
        missing = replace(config, queryd=replace(config.queryd, key_file="/does/not/exist"))
        (status,) = await read_engine_statuses(missing, {})
        assert status.problem == "queryd.key_file /does/not/exist cannot be read: No such file or directory"
    assert await read_engine_statuses(Config(), {}) == ()
