"""D5, D6, GOLAKE-040 and 082: SQL, and all services one after another."""

from __future__ import annotations

from tests.services.conformance.lakes import Lake
from tests.services.conformance.sql_cases import (
    DUCKDB,
    check_bad_sql,
    check_five_queries,
    check_names_and_writes,
    check_smoke,
)


def test_golake_040_five_queries(lake: Lake, unique: str) -> None:
    check_five_queries(lake, unique)


def test_golake_082_bad_sql_has_a_body_that_says_what(lake: Lake) -> None:
    check_bad_sql(lake, DUCKDB)


def test_d5_smoke(lake: Lake, unique: str) -> None:
    check_smoke(lake, unique)


def test_d6_smoke(lake: Lake, unique: str) -> None:
    """All services, as the original's gateway was tried."""
    storage = lake.through("storaged")
    assert storage.request("PUT", f"/storage/put/d6/{unique}", content=b"d6").status_code == 201  # 1
    assert storage.request("GET", f"/storage/get/d6/{unique}").content == b"d6"  # 2
    check_names_and_writes(lake, unique, DUCKDB)  # 3, 5, 6
    manifest = lake.through("catalogd").request("GET", f"/catalog/manifest/d6.{unique}")
    assert manifest.json()["name"] == f"d6.{unique}"  # 4
