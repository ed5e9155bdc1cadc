"""What queryd promises of SQL, whatever engine runs it: the statements of one conformance suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.services.conformance.lakes import Lake
from tests.services.conformance.service_cases import PEOPLE, ask, ingest

SCORES = PEOPLE.replace(b"Eve,Boston,analyst,95", b"Eve,Boston,analyst,88")


@dataclass(frozen=True, kw_only=True)
class SqlDialect:
    """How statements are written for an engine, and what it says of one that cannot be parsed."""

    quote: Callable[[str], str]
    """Write the name of a table that has a dot in it, which the catalog has as ~."""
    syntax_error: str = "syntax error"
    position: int | None = 14
    """Where the mistake in `SELECT * FORM x` is."""


DUCKDB = SqlDialect(quote=lambda name: f'"{name}"')


def check_five_queries(lake: Lake, name: str) -> None:
    """GOLAKE-040."""
    assert ingest(lake, name, SCORES).status_code in (200, 201)
    assert ask(lake, f"SELECT count(*) FROM {name}") == [[5]]
    assert ask(lake, f"SELECT count(*) FROM {name} WHERE city = 'Chicago'") == [[2]]
    assert ask(lake, f"SELECT max(score) FROM {name}") == [[95]]
    assert ask(lake, f"SELECT name FROM {name} WHERE role = 'safety'") == [["Barbara"]]
    assert ask(lake, f"SELECT avg(score) FROM {name} WHERE city = 'Houston'") == [[89.5]]


def check_bad_sql(lake: Lake, dialect: SqlDialect) -> None:
    """GOLAKE-082: bad SQL has a body that says what is wrong, and where."""
    answer = lake.through("queryd").request("POST", "/sql", json={"sql": "SELECT * FORM x"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "ErrBadRequest")
    assert dialect.syntax_error in error["message"].lower()
    if dialect.position is not None:
        assert error["details"]["position"] == dialect.position


def check_smoke(lake: Lake, name: str) -> None:
    """D5."""
    ingest(lake, name)
    answer = lake.through("queryd").request("POST", "/sql", json={"sql": f"SELECT id, name FROM {name} ORDER BY id"})
    document = answer.json()
    assert answer.status_code == 200  # 1
    assert document["columns"] == [{"name": "id", "type": "BIGINT"}, {"name": "name", "type": "VARCHAR"}]  # 2
    assert (document["row_count"], document["rows"][0]) == (5, [1, "Alice"])  # 3
    ingest(lake, name, b"id,name,city,role,score\n9,Zoe,Ulm,chief,1\n")
    assert ask(lake, f"SELECT name FROM {name}") == [["Zoe"]]  # 4: at once
    for body in ({"sql": ""}, {"query": "SELECT 1"}):
        assert lake.through("queryd").request("POST", "/sql", json=body).status_code == 400  # 5
    missing = lake.through("queryd").request("POST", "/sql", json={"sql": "SELECT * FROM no_such_table"})
    assert missing.status_code == 400
    assert "no_such_table" in missing.json()["error"]["message"]  # 6


def check_names_and_writes(lake: Lake, name: str, dialect: SqlDialect) -> None:
    """The steps 3, 5 and 6 of D6: a name with a namespace, and no statement that writes."""
    assert ingest(lake, f"d6.{name}").status_code in (200, 201)
    quoted = dialect.quote(f"d6.{name}")
    refused = lake.through("queryd").request("POST", "/sql", json={"sql": f"DROP TABLE {quoted}"})
    assert refused.status_code == 403
    answer = lake.through("queryd").request("POST", "/sql", json={"sql": f"SELECT name FROM {quoted} ORDER BY id"})
    assert answer.json()["rows"][0][0] == "Alice"


def check_no_drop(lake: Lake, name: str) -> None:
    """The step 5 of D6."""
    assert ingest(lake, name).status_code in (200, 201)
    refused = lake.through("queryd").request("POST", "/sql", json={"sql": f"DROP TABLE {name}"})
    assert refused.status_code == 403
    assert ask(lake, f"SELECT count(*) FROM {name}") == [[5]]
