"""The conformance suite of SQL on the engines beside DuckDB, each a real server over the catalog of the services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.services.conformance.lakes import Embedded, open_embedded
from tests.services.conformance.service_cases import ingest
from tests.services.conformance.sql_cases import (
    SqlDialect,
    check_bad_sql,
    check_five_queries,
    check_names_and_writes,
    check_no_drop,
    check_smoke,
)
from tools.kit.scaleout.sail import Sail
from tools.kit.scaleout.spark import Spark
from tools.kit.scaleout.trino import Trino

_BACKTICKS = SqlDialect(quote=lambda name: f"`{name.replace('.', '~')}`")
DIALECTS = {
    "spark": _BACKTICKS,
    "sail": SqlDialect(quote=_BACKTICKS.quote, syntax_error="found x at 14"),
    "flight_sql": SqlDialect(quote=_BACKTICKS.quote, syntax_error="found x at 14"),
    "trino": SqlDialect(
        quote=lambda name: '"' + name.replace(".", "~") + '"', syntax_error="mismatched input 'form'", position=9
    ),
}
ENGINES = {"spark": "spark", "sail": "spark", "flight_sql": "flightsql", "trino": "trino"}
ROWS = b"id,word\n" + b"".join(b"%d,w%d\n" % (number, number % 7) for number in range(5000))


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def lake(request: pytest.FixtureRequest, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A gateway whose statements run on the server."""
    server: Spark | Sail | Trino = request.getfixturevalue(engine)
    tables = {
        "lake": server.lake,
        "queryd": {"engine": ENGINES[engine]},
        f"queryd.{ENGINES[engine]}": {"url": server.url},
    }
    with ExitStack() as stack:
        yield stack.enter_context(open_embedded(tmp_path_factory.mktemp(engine), tables))


def test_five_queries_of_the_warehouse(lake: Embedded, unique: str) -> None:
    check_five_queries(lake, unique)


def test_bad_sql_of_a_client_of_the_warehouse(lake: Embedded, engine: str) -> None:
    check_bad_sql(lake, DIALECTS[engine])


def test_an_upload_to_the_warehouse_is_seen_at_once(lake: Embedded, unique: str) -> None:
    check_smoke(lake, unique)


def test_names_in_the_warehouse_and_no_writes(lake: Embedded, engine: str, unique: str) -> None:
    if engine in ("spark", "trino"):
        check_names_and_writes(lake, unique, DIALECTS[engine])
    else:  # the REST catalog of these tests has no names with dots
        check_no_drop(lake, unique)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO main.{t} SELECT 1, 'x'",
        "WITH a AS (SELECT 1 AS id, 'x' AS word) INSERT INTO {t} SELECT * FROM a",
        "FROM {t} INSERT INTO {t} SELECT id, word",
        "CREATE TABLE other USING iceberg AS SELECT 1",
        "SET spark.sql.ansi.enabled = false",
        "SELECT 1; SELECT 2",
        "/* SELECT 1 */ DELETE FROM {t}",
        "EXPLAIN ANALYZE DELETE FROM {t}",
        "ALTER TABLE {t} EXECUTE expire_snapshots(retention_threshold => '0s')",
        "CALL system.unregister_table('main', '{t}')",
        "SELECT * FROM text.`/etc/hostname`",
        "SELECT java_method('java.lang.System', 'exit', 1)",
    ],
)
def test_no_statement_changes_the_warehouse(lake: Embedded, unique: str, statement: str) -> None:
    name = unique[:40]
    ingest(lake, name, b"id,word\n1,a\n")
    answer = lake.through("queryd").request("POST", "/sql", json={"sql": statement.format(t=name)})
    assert answer.status_code in (400, 403), answer.text
    count = lake.through("queryd").request("POST", "/sql", json={"sql": f"SELECT count(*) FROM {name}"})
    assert count.json()["rows"] == [[1]]


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream"])
def test_all_rows_of_the_warehouse_in_each_form(lake: Embedded, accept: str) -> None:
    """The bytes are those that DuckDB makes of the same rows."""
    ingest(lake, "forms", ROWS)
    statement = {"sql": "SELECT id, word FROM forms ORDER BY id"}
    answers = [
        lake.through("queryd").request("POST", "/sql", json={**statement, **more}, headers={"accept": accept})
        for more in ({}, {"engine": "duckdb"})
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    if accept != "application/vnd.apache.arrow.stream":  # whose batches end elsewhere
        assert answers[0].content == answers[1].content
    else:
        import pyarrow as pa  # here: without the group `scaleout` it may be missing

        one, other = (pa.ipc.open_stream(answer.content).read_all().to_pylist() for answer in answers)
        assert one == other


def test_limits_and_parameters_in_the_warehouse(lake: Embedded, engine: str) -> None:
    ingest(lake, "limits", ROWS)
    queryd = lake.through("queryd")
    cut = queryd.request("POST", "/sql", json={"sql": "SELECT id FROM limits", "max_rows": 3}).json()
    assert (cut["row_count"], cut["truncated"]) == (3, True)
    snapshot = queryd.request("POST", "/sql", json={"sql": "SELECT id FROM limits", "snapshot": "1"})
    assert snapshot.status_code == 400
    assert "`snapshot` is for the engine duckdb" in snapshot.json()["error"]["message"]
    statement = {"sql": "SELECT count(*) FROM limits WHERE word = ? AND id < ?", "params": ["w1", 100]}
    bound = queryd.request("POST", "/sql", json=statement)
    if engine == "flight_sql":  # this server has no prepared statements
        assert bound.status_code == 400
    else:
        assert bound.json()["rows"] == [[15]]
