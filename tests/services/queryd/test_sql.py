"""SQL over HTTP: answers, errors, parameters, the past, and the catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import pytest

from tests.services.queryd.sql_kit import PEOPLE, FileTables, Sql, open_sql


@pytest.fixture
def tables(tmp_path: Path) -> FileTables:
    """The table of five people, and a table in a namespace."""
    tables = FileTables(tmp_path)
    tables.write("people", PEOPLE)
    tables.write("sales/orders", "SELECT 7 AS id, 2.50 AS price")
    return tables


@pytest.fixture
async def sql(tables: FileTables) -> AsyncIterator[Sql]:
    async with open_sql(tables) as sql:
        yield sql


async def test_the_five_queries_of_the_proof(sql: Sql) -> None:
    """GOLAKE-040: five queries on a table of five rows."""
    queries = {
        "SELECT count(*) FROM people": 5,
        "SELECT count(*) FROM people WHERE city = 'Chicago'": 2,
        "SELECT max(score) FROM people": 95,
        "SELECT name FROM people WHERE role = 'safety'": "Barbara",
        "SELECT avg(score) FROM people WHERE city = 'Houston'": 89.5,
    }
    for query, expected in queries.items():
        assert await sql.rows(query) == [[expected]], query


async def test_an_answer_has_columns_rows_and_what_was_read(sql: Sql) -> None:
    """The whole document, at both paths."""
    for path in ("/sql", "/v1/sql"):
        response = await sql.client.post(path, json={"sql": "SELECT id, name FROM people ORDER BY id LIMIT 2"})
        document = response.json()
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert document.pop("elapsed_ms") > 0
        assert document.pop("scanned")["bytes"] > 0
        assert document == {
            "columns": [{"name": "id", "type": "INTEGER"}, {"name": "name", "type": "VARCHAR"}],
            "rows": [[1, "Alice"], [2, "Bob"]],
            "row_count": 2,
            "truncated": False,
        }


STATEMENTS: tuple[tuple[str, list[list[object]]], ...] = (
    ("WITH p AS (FROM people) SELECT count(*) FROM p", [[5]]),
    ("WITH people AS (SELECT 1 AS x) SELECT count(*) FROM people", [[1]]),
    ('WITH "größte Werte" AS (SELECT 1 AS x) FROM "größte Werte"', [[1]]),
    ("WITH main AS (SELECT 1 AS x) FROM main", [[1]]),
    ("FROM people SELECT max(id)", [[5]]),
    ("VALUES (1), (2)", [[1], [2]]),
    ("SELECT 1; -- done", [[1]]),
    ("SELECT 1 -- not done", [[1]]),
    ("SELECT ';' AS a /* ; */", [[";"]]),
    ("TABLE people ORDER BY id DESC LIMIT 1", [[5, "Eve", "Boston", "analyst", 88]]),
    ("SELECT * FROM PEOPLE p, Sales.Orders o WHERE p.ID = 1", [[1, "Alice", "Chicago", "engineer", 90, 7, "2.50"]]),
    ('SELECT id FROM "sales/orders"', [[7]]),
    ("SELECT id FROM sales.orders", [[7]]),
    ("SELECT orders.id FROM main.people, sales.orders LIMIT 1", [[7]]),
    ("SELECT id FROM memory.sales.orders", [[7]]),
    ("SELECT unnest([1, 2])", [[1], [2]]),
    ("SELECT (SELECT max(id) FROM people), id FROM sales.orders", [[5, 7]]),
    ("SELECT a FROM (SELECT 3 AS a UNION ALL SELECT 1 UNION ALL SELECT 2) ORDER BY a", [[1], [2], [3]]),
    ("SELECT 1 AS a, 2 AS a", [[1, 2]]),
    ("SELECT 1 WHERE false", []),
    ("SHOW TABLES", [["people"], ["sales/orders"]]),
    ("DESCRIBE sales.orders", [["id", "INTEGER", "YES", None, None, None], ["price", "DECIMAL(3,2)", "YES", None, None, None]]),
    ("SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL", [["main", "people"], ["sales", "orders"]]),
    ("SELECT data_type FROM information_schema.columns WHERE column_name = 'price'", [["DECIMAL(3,2)"]]),
    ("SELECT count(*) FROM duckdb_tables()", [[2]]),
    ("SELECT name FROM pragma_table_info('people') LIMIT 1", [["id"]]),
)  # fmt: skip


async def test_statements_that_read(sql: Sql) -> None:
    """Every way to write a query, and the catalog; from the third time on the statement is prepared."""
    for statement, rows in STATEMENTS:
        for _ in range(3):
            assert await sql.rows(statement) == rows, statement


async def test_summarize_and_explain_are_answered(sql: Sql) -> None:
    """Both have their own columns."""
    summary = await sql.rows("SUMMARIZE people")
    assert [row[0] for row in summary] == ["id", "name", "city", "role", "score"]
    for statement in (
        "EXPLAIN SELECT * FROM people",
        "EXPLAIN ANALYZE FROM people",
        "EXPLAIN (FORMAT json) FROM people",
    ):
        ((_, plan),) = await sql.rows(statement)
        assert "PARQUET" in plan.upper()


async def test_nothing_stays_of_a_statement(sql: Sql) -> None:
    """The catalog's tables without rows and the views of a table do not mix."""
    for _ in range(2):
        assert await sql.rows("SELECT count(*) FROM people") == [[5]]
        assert await sql.rows("SHOW TABLES") == [["people"], ["sales/orders"]]
        assert await sql.rows(
            "SELECT p.n, t.n FROM (SELECT count(*) n FROM people) p, (SELECT count(*) n FROM duckdb_tables()) t"
        ) == [[5, 1]]
    sql.tables.plans.pop("people")
    assert (await sql.error("SELECT * FROM people"))[0] == 400
    assert await sql.rows("SHOW TABLES") == [["sales/orders"]]


async def test_a_table_is_read_as_it_is_now_and_as_it_was(sql: Sql) -> None:
    """A new snapshot is seen by the next statement; the past has two ways."""
    first = sql.tables.plans["people"][0].snapshot_id
    assert await sql.rows("SELECT count(*) FROM people") == [[5]]
    second = sql.tables.write("people", PEOPLE, PEOPLE).snapshot_id
    assert await sql.rows("SELECT count(*) FROM people") == [[10]]
    past = f"SELECT count(*) FROM people AT (VERSION => {first})"
    assert await sql.rows(past) == [[5]]
    assert await sql.rows(f"SELECT count(people.id) FROM people AT (VERSION => '{first}') WHERE people.id < 9") == [[5]]
    assert await sql.rows("SELECT count(*) FROM people", snapshot=first) == [[5]]
    assert await sql.rows("SELECT count(*) FROM people", snapshot=int(second)) == [[10]]
    both = f"SELECT (SELECT count(*) FROM people AT (VERSION => {first})), (SELECT count(*) FROM people)"
    assert await sql.rows(both) == [[5, 10]]
    status, message, details = await sql.error("FROM people AT (VERSION => 12)")
    assert (status, details) == (400, {"position": 5})
    assert "12" in message
    assert (await sql.error("FROM people", snapshot="12"))[0] == 400
    assert (await sql.error("FROM people, sales.orders", snapshot=first))[0] == 400
    assert (await sql.error("SELECT 1", snapshot=first))[0] == 400
    assert (await sql.error("FROM people AT (VERSION => $1)", params=[1]))[0] == 400


async def test_deleted_rows_and_changed_columns(sql: Sql) -> None:
    """Position deletes apply to their file; a renamed, an added and a widened column are read by field id."""
    sql.tables.write("people", PEOPLE, PEOPLE, deletes=[0, 2])
    assert await sql.rows("SELECT id, count(*) FROM people GROUP BY id ORDER BY id") == [
        [1, 1],
        [2, 2],
        [3, 1],
        [4, 2],
        [5, 2],
    ]
    old = sql.tables.plans["people"][-1]
    identity, name = old.fields[:2]
    renamed = [
        type(identity)(id=identity.id, name="number", type="BIGINT"),
        type(identity)(id=name.id, name="who", type="VARCHAR"),
        type(identity)(id=99, name="added", type="DOUBLE"),
    ]
    sql.tables.publish("people", renamed, old.files)
    response = await sql.post("FROM people ORDER BY number LIMIT 1")
    assert response.json()["columns"] == [
        {"name": "number", "type": "BIGINT"}, {"name": "who", "type": "VARCHAR"}, {"name": "added", "type": "DOUBLE"},
    ]  # fmt: skip
    assert response.json()["rows"] == [[1, "Alice", None]]
    sql.tables.publish("people", renamed, [])
    assert await sql.rows("FROM people") == []


async def test_a_statement_that_comes_again_is_run_again(sql: Sql) -> None:
    """From the third time on it is prepared: its answer is that of now, and nothing of another one."""
    statement = "SELECT count(*), max(score) FROM people"
    for _ in range(4):
        assert await sql.rows(statement) == [[5, 95]]
    sql.tables.write("people", PEOPLE, PEOPLE)
    for _ in range(4):
        assert await sql.rows(statement) == [[10, 95]]
        assert await sql.rows("SHOW TABLES") == [["people"], ["sales/orders"]]
        assert await sql.rows(statement, max_rows=0) == []
    times = {(await sql.rows("SELECT now()::VARCHAR"))[0][0] for _ in range(5)}
    assert len(times) == 5
    assert len({str(await sql.rows("SELECT random()")) for _ in range(6)}) == 6
    after_seeds = set()
    for _ in range(4):
        await sql.rows("SELECT setseed(0.5)")
        after_seeds.add(str(await sql.rows("SELECT random()")))
    assert len(after_seeds) == 4, "a seed has an effect on a later statement"
    for _ in range(4):
        status, message, details = await sql.error("SELECT CAST(name AS INTEGER) FROM people WHERE id = 2")
        assert (status, details) == (400, {"position": 7})
        assert "Bob" in message
    document = (await sql.post(statement)).json()
    assert document["scanned"]["rows"] == 10
    for select in ("id", "*", "count(*)", "max(id)"):
        document = (await sql.post(f"SELECT {select} FROM people")).json()
        assert document["scanned"]["rows"] == 10, select


async def test_parameters(sql: Sql) -> None:
    """A list for `?` and `$1`, an object for `$name`; values of every kind of JSON."""
    assert await sql.rows("SELECT name FROM people WHERE id = ? AND city = ?", params=[1, "Chicago"]) == [["Alice"]]
    assert await sql.rows("SELECT $2, $1", params=["it's", None]) == [[None, "it's"]]
    assert await sql.rows("SELECT $a, $b, $c", params={"a": 1.5, "b": [1, 2], "c": {"x": True}}) == [
        [1.5, [1, 2], {"x": True}]
    ]
    assert await sql.rows("SELECT ?", params=["'; DROP TABLE people; --"]) == [["'; DROP TABLE people; --"]]
    for params in ([], [1, 2], {"a": 1}):
        status, message, _ = await sql.error("SELECT name FROM people WHERE id = ?", params=params)
        assert status == 400
        assert "arameter" in message


async def test_max_rows_cuts_the_answer_and_says_so(tables: FileTables) -> None:
    """The request can lower the ceiling of the configuration."""
    async with open_sql(tables, max_rows=100) as sql:
        for wanted, expected, truncated in ((None, 100, True), (3, 3, True), (1000, 100, True), (0, 0, True)):
            document = (await sql.post("FROM range(500)", max_rows=wanted)).json()
            assert (document["row_count"], len(document["rows"]), document["truncated"]) == (
                expected,
                expected,
                truncated,
            )
        document = (await sql.post("FROM range(100)")).json()
        assert (document["row_count"], document["truncated"]) == (100, False)
        text = (await sql.post("FROM range(500)", accept="text/csv")).text
        assert text.count("\n") == 501


WRONG: tuple[tuple[str, int | None, str], ...] = (
    ("SELEC 1", 0, "syntax error"),
    ("SELECT 'é' FROM WHERE", 16, "syntax error"),
    ("SELECT 'é', nope FROM people", 12, "nope"),
    ("SELECT 'é', people.nope FROM people", 12, "nope"),
    ("SELECT nope(id) FROM people", 7, "nope"),
    ("SELECT * FROM nowhere", 14, "nowhere"),
    ("SELECT * FROM poeple", 14, 'did you mean "people"'),
    ('SELECT * FROM "no such table"', 14, 'there is no table "no such table"'),
    (f"SELECT * FROM {'x' * 300}", 14, "there is no table"),
    (f"SELECT * FROM {'x' * 1_000_000}", 14, "there is no table"),
    ("SELECT CAST(name AS INTEGER) FROM people", 7, "Alice"),
    ("EXPLAIN SELECT nope FROM people", 15, "nope"),
    ("SELECT id FROM people, sales.orders", 7, "mbiguous"),
    ("SELECT sum(name) FROM people", 7, "sum"),
    ("SELECT 1; SELECT 2", None, "2 statements"),
    ("", None, "empty"),
    ("-- nothing", None, "no statement"),
)


async def test_errors_have_the_engine_s_sentence_and_the_position(sql: Sql) -> None:
    """400, and where in the statement, in characters from 0."""
    for statement, position, words in WRONG:
        status, message, details = await sql.error(statement)
        assert status == 400, statement
        assert words in message, (statement, message)
        if duckdb.__version__ >= "2" or statement.isascii():  # the parser before counted characters
            assert details.get("position") == position, (statement, details)


async def test_requests_that_are_not_valid(sql: Sql) -> None:
    """Every field is named that does not fit."""
    for body, words in (
        (b"{", "not JSON"),
        (b"{}", "`sql` is required"),
        (b'{"query":"SELECT 1"}', "query"),
        (b'{"sql":1}', "sql"),
        (b'{"sql":"SELECT 1","params":1}', "params"),
        (b'{"sql":"SELECT 1","max_rows":-1}', "max_rows"),
        (b'{"sql":"SELECT 1","timeout":"soon"}', "timeout"),
        (b'{"sql":"SELECT 1","timeout":0}', "timeout"),
        (b'{"sql":"SELECT 1","snapshot":"abc"}', "snapshot"),
    ):
        response = await sql.client.post("/sql", content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400, body
        assert words in response.json()["error"]["message"], response.text
    assert (
        await sql.client.post("/sql", content=b"SELECT 1", headers={"content-type": "text/plain"})
    ).status_code == 415
    assert (await sql.client.get("/sql")).status_code == 405
    assert (await sql.client.post("/sql", content=b'{"sql":"' + b"x" * 5_000_000 + b'"}')).status_code == 413
