"""D4 and GOLAKE-030: files."""

from __future__ import annotations

from tests.services.conformance.lakes import Lake
from tests.services.conformance.service_cases import PEOPLE, ingest, ingest_document


def test_golake_030_the_object_lies_at_its_key_and_the_manifest_counts_its_rows(lake: Lake, unique: str) -> None:
    name = f"proof/{unique}"
    answer = ingest(lake, name)
    assert answer.status_code == 201
    document = answer.json()
    key = document["key"]
    assert (document["row_count"], document["existing"]) == (5, False)
    assert key.startswith(f"datasets/{name}/")
    assert key.endswith(".parquet")
    stored = lake.through("storaged").request("GET", f"/storage/get/{key}")
    assert (stored.status_code, stored.content[:4]) == (200, b"PAR1")
    manifest = lake.through("catalogd").request("GET", f"/catalog/manifest/{name}").json()
    assert (manifest["row_count"], manifest["dataset_id"]) == (5, document["dataset_id"])
    assert (manifest["objects"][0]["key"], manifest["objects"][0]["size"]) == (key, len(stored.content))


def test_d4_smoke(lake: Lake, unique: str) -> None:
    name = f"d4/{unique}"
    form = lake.through("ingestd")
    created = form.http.post(f"{form.prefix}/ingest?name={name}", files={"file": ("people.csv", PEOPLE, "text/csv")})
    assert created.status_code == 201  # 1
    assert created.json()["columns"] == [
        {"name": "id", "type": "BIGINT"},
        {"name": "name", "type": "VARCHAR"},
        {"name": "city", "type": "VARCHAR"},
        {"name": "role", "type": "VARCHAR"},
        {"name": "score", "type": "BIGINT"},
    ]  # 2
    manifests = lake.through("catalogd").request("GET", "/catalog/list").json()["manifests"]
    assert [entry["row_count"] for entry in manifests if entry["name"] == name] == [5]  # 3
    again = ingest(lake, name).json()
    same = ("dataset_id", "schema_fingerprint", "row_count")
    assert again["existing"]
    assert [again[field] for field in same] == [created.json()[field] for field in same]  # 4
    drifted = ingest(lake, name, b"id,other\n1,2\n")
    assert (drifted.status_code, drifted.json()["error"]["code"]) == (409, "ErrConflict")
    assert drifted.json()["error"]["details"]["differences"]  # 5
    assert lake.through("catalogd").request("GET", f"/catalog/manifest/{name}").json()["row_count"] == 5
    nameless = lake.through("ingestd").request("POST", "/ingest", content=PEOPLE)
    assert nameless.status_code == 400
    assert "name" in nameless.json()["error"]["message"]  # 6


def test_a_document_is_found_replaced_and_removed(lake: Lake, unique: str) -> None:
    created = ingest_document(lake, unique, "birds.md", b"# Owls\n\nThe owl hunts mice at night.\n")
    assert (created.status_code, created.json()["passages"], created.json()["model"]) == (201, 1, "wordllama-256")
    assert ingest_document(lake, unique, "fish.md", b"# Pikes\n\nThe pike waits in the reeds.").json()["length"] == 2
    again = ingest_document(lake, unique, "birds.md", b"# Herons\n\nThe heron stands in shallow water.")
    assert (again.status_code, again.json()["replaced"], again.json()["length"]) == (200, 1, 2)
    search = {"text": "a heron in the water", "k": 1, "with": ["text", "metadata"]}
    found = lake.through("vectord").request("POST", f"/vectors/index/{unique}/search", json=search).json()["results"]
    assert [hit["id"] for hit in found] == ["birds.md#1"]
    assert (found[0]["metadata"]["source"], found[0]["metadata"]["heading"]) == ("birds.md", "Herons")
    removed = lake.through("ingestd").request("DELETE", f"/ingest?name={unique}&source=birds.md")
    assert removed.json() == {"corpus": unique, "source": "birds.md", "deleted": 1, "length": 1}
