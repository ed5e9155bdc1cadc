"""D3 and GOLAKE-020 to 022: the list of datasets."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.services.conformance.lakes import Lake


def _put_parquet(lake: Lake, key: str) -> dict[str, Any]:
    """Store a Parquet object of three rows; the claim about it."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2, 3], "text": ["a", "b", "c"]}), sink)
    put = lake.through("storaged").request("PUT", f"/storage/put/{key}", content=sink.getvalue())
    assert put.status_code == 201, put.text
    return {"key": key, "size": put.json()["size"], "rows": 3}


def _register(lake: Lake, body: object) -> tuple[int, Any]:
    answer = lake.through("catalogd").request("POST", "/catalog/register", json=body)
    return answer.status_code, answer.json()


def _list(lake: Lake) -> list[dict[str, Any]]:
    document = lake.through("catalogd").request("GET", "/catalog/list").json()
    manifests: list[dict[str, Any]] = document["manifests"]
    assert document["count"] == len(manifests)
    return manifests


def test_golake_020_to_022_register_read_list_and_again(lake: Lake, unique: str) -> None:
    name = f"proof/{unique}"
    body = {
        "name": name,
        "schema_fingerprint": "sha256:one",
        "objects": [_put_parquet(lake, f"in/{unique}.parquet")],
        "row_count": 3,
    }
    status, fresh = _register(lake, body)  # 020
    assert (status, fresh["existing"], fresh["row_count"]) == (200, False, 3)
    answer = lake.through("catalogd").request("GET", f"/catalog/manifest/{name}")  # 021
    assert (answer.status_code, answer.json()) == (200, fresh["manifest"])
    entries = [entry for entry in _list(lake) if entry["name"] == name]
    assert entries == [fresh["manifest"]]
    assert {"dataset_id", "name", "schema_fingerprint", "row_count", "updated_at"} <= set(entries[0])
    status, again = _register(lake, body)  # 022
    assert (status, again["existing"], again["dataset_id"]) == (200, True, fresh["dataset_id"])
    status, drifted = _register(lake, {**body, "schema_fingerprint": "sha256:two"})
    assert (status, drifted["error"]["code"]) == (409, "ErrConflict")
    assert lake.through("catalogd").request("GET", f"/catalog/manifest/{name}").json()["schema_fingerprint"] == (
        "sha256:one"
    )


def test_d3_smoke(lake: Lake, unique: str) -> None:
    """The sixth, a manifest after a restart, is `test_what_was_acknowledged_is_there` for `killed`."""
    name = f"d3/{unique}"
    body = {
        "name": name,
        "schema_fingerprint": "v1",
        "objects": [_put_parquet(lake, f"in/{unique}.parquet")],
        "row_count": 3,
    }
    status, fresh = _register(lake, body)
    assert (status, fresh["existing"]) == (200, False)  # 1
    manifest = lake.through("catalogd").request("GET", f"/catalog/manifest/{name}")
    assert manifest.json()["dataset_id"] == fresh["dataset_id"]  # 2
    assert name in [entry["name"] for entry in _list(lake)]  # 3
    assert _register(lake, body)[1]["existing"]  # 4
    assert _register(lake, {**body, "schema_fingerprint": "v2"})[0] == 409  # 5
