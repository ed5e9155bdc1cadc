"""D5, D6, GOLAKE-040 and 082: SQL, and all services one after another."""

from __future__ import annotations

from tests.services.conformance.lakes import Lake
from tests.services.conformance.service_cases import PEOPLE, ask, ingest

SCORES = PEOPLE.replace(b"Eve,Boston,analyst,95", b"Eve,Boston,analyst,88")


def test_golake_040_five_queries(lake: Lake, unique: str) -> None:
    assert ingest(lake, unique, SCORES).status_code == 201
    assert ask(lake, f"SELECT count(*) FROM {unique}") == [[5]]
    assert ask(lake, f"SELECT count(*) FROM {unique} WHERE city = 'Chicago'") == [[2]]
    assert ask(lake, f"SELECT max(score) FROM {unique}") == [[95]]
    assert ask(lake, f"SELECT name FROM {unique} WHERE role = 'safety'") == [["Barbara"]]
    assert ask(lake, f"SELECT avg(score) FROM {unique} WHERE city = 'Houston'") == [[89.5]]


def test_golake_082_bad_sql_has_a_body_that_says_what(lake: Lake) -> None:
    answer = lake.through("queryd").request("POST", "/sql", json={"sql": "SELECT * FORM x"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "ErrBadRequest")
    assert "syntax error" in error["message"]
    assert error["details"]["position"] == 14


def test_d5_smoke(lake: Lake, unique: str) -> None:
    ingest(lake, unique)
    answer = lake.through("queryd").request("POST", "/sql", json={"sql": f"SELECT id, name FROM {unique} ORDER BY id"})
    document = answer.json()
    assert answer.status_code == 200  # 1
    assert document["columns"] == [{"name": "id", "type": "BIGINT"}, {"name": "name", "type": "VARCHAR"}]  # 2
    assert (document["row_count"], document["rows"][0]) == (5, [1, "Alice"])  # 3
    ingest(lake, unique, b"id,name,city,role,score\n9,Zoe,Ulm,chief,1\n")
    assert ask(lake, f"SELECT name FROM {unique}") == [["Zoe"]]  # 4: at once
    for body in ({"sql": ""}, {"query": "SELECT 1"}):
        assert lake.through("queryd").request("POST", "/sql", json=body).status_code == 400  # 5
    missing = lake.through("queryd").request("POST", "/sql", json={"sql": "SELECT * FROM no_such_table"})
    assert missing.status_code == 400
    assert "no_such_table" in missing.json()["error"]["message"]  # 6


def test_d6_smoke(lake: Lake, unique: str) -> None:
    """All services, as the original's gateway was tried."""
    storage = lake.through("storaged")
    assert storage.request("PUT", f"/storage/put/d6/{unique}", content=b"d6").status_code == 201  # 1
    assert storage.request("GET", f"/storage/get/d6/{unique}").content == b"d6"  # 2
    assert ingest(lake, f"d6.{unique}").status_code == 201  # 3
    manifest = lake.through("catalogd").request("GET", f"/catalog/manifest/d6.{unique}")
    assert manifest.json()["name"] == f"d6.{unique}"  # 4
    refused = lake.through("queryd").request("POST", "/sql", json={"sql": f'DROP TABLE "d6.{unique}"'})
    assert refused.status_code == 403  # 5
    answer = lake.through("queryd").request("POST", "/sql", json={"sql": f'SELECT name FROM "d6.{unique}" ORDER BY id'})
    assert answer.json()["rows"][0][0] == "Alice"  # 6
