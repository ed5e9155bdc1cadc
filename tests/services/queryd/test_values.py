"""Values in JSON, NDJSON and CSV: numbers that every reader gets back are numbers, the rest is text that loses nothing."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import nanoarrow as na
import pytest
from duckdb import connect

from lakehouse.services.queryd.request import CONTENT_TYPES, choose_format
from tests.services.queryd.sql_kit import FileTables, Sql, open_sql
from tests.services.queryd.values import VALUES


@pytest.fixture
async def sql(tmp_path: Path) -> object:
    async with open_sql(FileTables(tmp_path)) as sql:
        yield sql


async def test_values_in_json(sql: Sql) -> None:
    """Each by itself, and all in one row of JSON and of NDJSON."""
    for expression, kind, expected in VALUES:
        document = (await sql.post(f"SELECT {expression} AS v")).json()
        assert document["columns"] == [{"name": "v", "type": kind}], expression
        assert document["rows"] == [[expected]], expression
    every = ", ".join(f"{expression} AS v{index}" for index, (expression, _, _) in enumerate(VALUES))
    row = [expected for _, _, expected in VALUES]
    assert await sql.rows(f"SELECT {every}") == [row]
    line = json.loads((await sql.post(f"SELECT {every}", accept="application/x-ndjson")).text)
    assert list(line.values()) == row


async def test_values_in_csv(sql: Sql) -> None:
    """Scalars as their text, nested values as JSON; NULL is empty, an empty string is quoted."""
    assert (
        await sql.post("SELECT NULL::VARCHAR AS a, '' AS b, 'x' AS c", accept="text/csv")
    ).text == 'a,b,c\r\n,"",x\r\n'
    scalars = [(e, v) for e, kind, v in VALUES if isinstance(v, str) and kind not in ("DOUBLE", "FLOAT")]
    every = ", ".join(f"{expression} AS v{index}" for index, (expression, _) in enumerate(scalars))
    text = (await sql.post(f"SELECT {every}", accept="text/csv")).content.decode()
    header, row = csv.reader(io.StringIO(text, newline=""))
    assert header == [f"v{index}" for index in range(len(scalars))]
    assert row == [value for _, value in scalars]
    nested = (await sql.post("SELECT [1, 9007199254740993] AS l, {'a': 'x,y'} AS s", accept="text/csv")).text
    (_, cells) = csv.reader(io.StringIO(nested, newline=""))
    assert [json.loads(cell) for cell in cells] == [[1, "9007199254740993"], {"a": "x,y"}]
    assert (await sql.post('SELECT 1 AS "a,b", 2 AS "c""d"', accept="text/csv")).text == '"a,b","c""d"\r\n1,2\r\n'


async def test_names_that_repeat(sql: Sql) -> None:
    """A JSON answer has columns as they are; formats with unique names number them."""
    statement = "SELECT 1 AS a, 2 AS a, 3 AS A, 4 AS a_1"
    assert [column["name"] for column in (await sql.post(statement)).json()["columns"]] == ["a", "a", "A", "a_1"]
    assert (await sql.post(statement, accept="application/x-ndjson")).json() == {"a": 1, "a_1": 2, "A_2": 3, "a_1_1": 4}
    assert (await sql.post(statement, accept="text/csv")).text == "a,a,A,a_1\r\n1,2,3,4\r\n"
    content = (await sql.post(statement, accept="application/vnd.apache.parquet")).content
    assert content[:4] == content[-4:] == b"PAR1"


async def test_arrow_and_parquet_are_those_of_the_engine(sql: Sql, tmp_path: Path) -> None:
    """The same rows and types as the engine's own."""
    statement = "SELECT i, i::VARCHAR AS s, [i] AS l, i / 3 AS d FROM range(50000) t(i)"
    content = (await sql.post(statement, accept="application/vnd.apache.arrow.stream")).content
    stream = na.ArrayStream.from_readable(content)
    table = stream.read_all()
    assert len(table) == 50_000
    assert [field.name for field in table.schema.fields] == ["i", "s", "l", "d"]
    assert table[49_999].as_py() == {"i": 49_999, "s": "49999", "l": [49_999], "d": 49_999 / 3}
    short = (await sql.post(statement, accept="application/vnd.apache.arrow.stream", max_rows=20_001)).content
    assert len(na.ArrayStream.from_readable(short).read_all()) == 20_001
    empty = (await sql.post("SELECT 1 AS a WHERE false", accept="application/vnd.apache.arrow.stream")).content
    assert len(na.ArrayStream.from_readable(empty).read_all()) == 0
    file = tmp_path / "answer.parquet"
    file.write_bytes((await sql.post(statement, accept="application/vnd.apache.parquet")).content)
    with connect() as connection:
        (row,) = connection.execute(f"SELECT count(*), sum(i), max(l[1]) FROM '{file}'").fetchall()
    assert row == (50_000, 49_999 * 25_000, 49_999)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("image/png", "application/json"),
        ("text/csv", "text/csv"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        (
            "application/x-ndjson;q=0.2, application/vnd.apache.arrow.stream;q=0.9",
            "application/vnd.apache.arrow.stream",
        ),
        ("text/csv;q=0, application/json", "application/json"),
        ("Application/X-NDJSON", "application/x-ndjson"),
        ("text/csv;q=high", "application/json"),
    ],
)
def test_the_format_is_what_the_client_prefers(accept: str, expected: str) -> None:
    """`Accept` with weights; what is not known is JSON."""
    assert CONTENT_TYPES[choose_format([(b"accept", accept.encode())])].startswith(expected)
