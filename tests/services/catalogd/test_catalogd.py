"""catalogd over HTTP, with the tables, the object store and the write engine that it has in the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from lakehouse.config import LakeTable
from lakehouse.services.catalogd.app import make_catalogd_app
from lakehouse.services.catalogd.upkeep import SMALL_SIZE, choose_batches
from lakehouse.services.contracts.catalog import dataset_id
from lakehouse.services.contracts.rewriting import TARGET_SIZE
from lakehouse.services.contracts.tables import DataFile
from lakehouse.services.engines.writer import open_write_engine
from lakehouse.services.lake.directory import open_lake_directory
from lakehouse.services.storaged.store import LakeObjectStore, open_object_store
from lakehouse.services.tables.client import open_tables
from tools.kit.lake_tables import ScratchLake
from tools.kit.raw_http import serve_app

ROWS = "SELECT i AS id, 'row ' || i AS text FROM range({}) r(i)"


@dataclass
class Service:
    """A running catalogd, and what it works on."""

    http: httpx.AsyncClient
    lake: ScratchLake
    store: LakeObjectStore

    async def put(self, key: str, select: str) -> dict[str, Any]:
        """Store a Parquet object; returns the claim about it."""
        path = self.lake.path / "staging" / "object.parquet"
        self.lake.connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
        await self.put_bytes(key, path.read_bytes())
        return {"key": key, "size": path.stat().st_size}

    async def put_bytes(self, key: str, data: bytes) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield data

        await self.store.write(key, body())

    async def post(self, path: str, body: object, status: int = 200) -> Any:
        return expect(await self.http.post(path, json=body), status)

    async def get(self, path: str, status: int = 200) -> Any:
        return expect(await self.http.get(path), status)

    async def register(
        self, *claims: object, name: str, fingerprint: str = "v1", status: int = 200, **more: object
    ) -> Any:
        body = {"name": name, "schema_fingerprint": fingerprint, "objects": claims, **more}
        return await self.post("/catalog/register", body, status)


def expect(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    document = response.json()
    return document if status < 400 else document["error"]


@asynccontextmanager
async def open_service(path: Path) -> AsyncIterator[Service]:
    settings = LakeTable()
    with open_lake_directory(path) as directory, duckdb.connect() as connection:
        async with (
            open_object_store(directory) as store,
            open_tables(directory, settings) as tables,
            open_write_engine(directory, settings) as engine,
            serve_app(make_catalogd_app(tables, store, engine, directory, settings), lifetime=True) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=30) as http,
        ):
            yield Service(http, ScratchLake(path, tables, connection), store)


async def test_objects_of_the_storage_become_a_table_if_what_is_claimed_of_them_is_true(tmp_path: Path) -> None:
    async with open_service(tmp_path / "lake") as service:
        assert await service.get("/catalog/list") == {"manifests": [], "count": 0}
        one = await service.put("in/1.parquet", ROWS.format(3))
        two = {**await service.put("in/2.parquet", ROWS.format(2)), "rows": 2}
        for claim, says in (
            ({**one, "size": 1}, "the size of the object 'in/1.parquet'"),
            ({**two, "rows": 4}, "is 2, not 4"),
        ):
            assert says in (await service.register(claim, name="a/b", status=422))["message"]
        answer = await service.register(one, two, name="a/b", row_count=5)
        manifest = answer["manifest"]
        assert answer == {**manifest, "manifest": manifest, "existing": False, "warnings": []}
        assert (manifest["name"], manifest["dataset_id"], manifest["schema_fingerprint"]) == (
            "a/b",
            dataset_id("a/b"),
            "v1",
        )
        assert (manifest["row_count"], [entry["rows"] for entry in manifest["objects"]]) == (5, [3, 2])
        assert manifest["columns"] == [{"name": "id", "type": "BIGINT"}, {"name": "text", "type": "VARCHAR"}]
        assert manifest["bytes"] == sum(entry["size"] for entry in manifest["objects"])
        assert isinstance(manifest["snapshot_id"], str)
        assert await service.get("/catalog/manifest/a/b") == manifest
        assert await service.get("/v1/catalog/manifest/a%2Fb") == manifest
        assert await service.get("/v1/catalog/list") == {"manifests": [manifest], "count": 1}

        await service.store.delete("in/1.parquet")
        assert len(await service.lake.rows("a/b")) == 5
        again = await service.register(two, name="a/b", row_count=2)
        assert (again["existing"], again["dataset_id"], again["row_count"]) == (True, manifest["dataset_id"], 2)
        assert again["created_at"] == manifest["created_at"] < again["updated_at"]
        own = again["objects"][-1]["key"]  # objects of tables are in the storage as well
        assert (await service.register({"key": own}, name="copy"))["row_count"] == 2


@pytest.mark.extended
async def test_what_is_claimed_about_an_object_has_to_be_true(tmp_path: Path) -> None:
    async with open_service(tmp_path / "lake") as service:
        claim = await service.put("x.parquet", ROWS.format(3))
        other = await service.put("y.parquet", "SELECT 1 AS id")
        await service.put_bytes("z.parquet", b"PAR1 not really")
        refusals: list[tuple[list[object], dict[str, object], int, str]] = [
            ([{"key": "gone.parquet"}], {}, 404, "there is no object 'gone.parquet'"),
            ([{**claim, "size": 1}], {}, 422, "the size of the object 'x.parquet' is not true"),
            ([{**claim, "rows": 4}], {}, 422, "it is 3, not 4"),
            ([claim], {"row_count": 4}, 422, "the objects have 3 rows, not 4"),
            ([claim, other], {}, 422, "'y.parquet' has other columns than the first one"),
            ([{"key": "z.parquet"}], {}, 422, "the object 'z.parquet': the Parquet file has no footer"),
            ([claim, claim], {}, 400, "has the key 'x.parquet' twice"),
            ([], {}, 400, "`objects` is required and must not be empty"),
            ([claim], {"fingerprint": ""}, 400, "`schema_fingerprint` is required"),
            ([claim], {"name": ""}, 400, "`name` is required"),
            ([claim], {"name": "a b"}, 400, "is not valid"),
            ([{"size": 1}], {}, 400, "`objects[0].key` is required"),
        ]
        for claims, more, status, says in refusals:
            error = await service.register(*claims, **{"name": "t", **more}, status=status)  # type: ignore[arg-type]
            assert says in error["message"]
        assert await service.get("/catalog/list") == {"manifests": [], "count": 0}
        assert [path.name for path in (tmp_path / "lake/staging").iterdir()] == ["object.parquet"]

        await service.register(claim, name="t")
        error = await service.register(claim, name="t", fingerprint="v2", status=409)
        assert (error["code"], error["details"]) == ("ErrConflict", {"was": "v1", "is": "v2"})
        error = await service.register(other, name="t", status=409)  # the label says so, the columns do not
        assert error["details"]["differences"][0] == {"column": "id", "was": "BIGINT", "is": "INTEGER"}
        assert (await service.get("/catalog/manifest/t"))["row_count"] == 3


async def test_malformed_requests_are_refused_with_the_field_at_fault(tmp_path: Path) -> None:
    async with open_service(tmp_path / "lake") as service:
        await service.lake.write("t", ROWS.format(1))
        post = service.http.post
        assert expect(await post("/catalog/register", content=b"{"), 400)["code"] == "ErrBadRequest"
        assert expect(await post("/catalog/register", content=bytes(5 * 2**20)), 413)["code"] == "ErrTooLarge"
        for path, body, says in [
            ("restore", {}, "`snapshot_id` is required"),
            ("restore", {"snapshot_id": "newest"}, "decimal digits"),
            ("delete", {"where": " "}, "`where` is required"),
            ("delete", {"where": "nonsense ("}, "where: syntax error"),
            ("delete", {"where": "nope = 1"}, "nope"),
            ("rename", {"to": "a//b"}, "a segment between slashes"),
            ("columns", {}, "exactly one of"),
            ("columns", {"add": [], "drop": ["id"], "rename": {"id": "x"}}, "exactly one of"),
            ("columns", {"remove": ["id"]}, "`remove` is not a field"),
            ("optimize", [1], "does not fit"),
            ("tags", {"tag": "", "snapshot_id": 1}, "`tag` is required"),
        ]:
            assert says in (await service.post(f"/catalog/tables/t/{path}", body, 400))["message"]
        await service.post("/catalog/tables/t/delete", {"where": "id IN (SELECT 1)"}, 403)
        for older in ("soon", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00", -1):
            assert "older_than" in (await service.post("/catalog/expire", {"older_than": older}, 400))["message"]
        for method, path, status in [
            ("GET", "/catalog/manifest/nope", 404), ("GET", "/catalog/manifest/", 404), ("GET", "/catalog/tables/", 404),
            ("DELETE", "/catalog/tables/nope", 404), ("GET", "/catalog/tables/nope/snapshots", 404), ("POST", "/catalog/list", 405),
            ("GET", "/catalog/tables/t/restore", 405), ("POST", "/catalog/tables/t", 405), ("PUT", "/catalog/register", 405),
            ("GET", "/catalog/t%61bles/t/restore", 405), ("GET", "/%761/catalog/tables/t/r%65store", 405), ("POST", "/catalog/tables/t%2Frestore", 405),
            ("GET", "/catalog/manifest/%FF", 400), ("GET", "/catalog/manifest/a%252Fb", 400), ("GET", "/catalog/other", 404),
        ]:  # fmt: skip
            response = await service.http.request(method, path)
            assert (response.status_code, response.json()["error"]["status"]) == (status, status), path
        assert (await service.http.head("/catalog/list")).status_code == 200


async def test_the_life_of_a_table(tmp_path: Path) -> None:
    async with open_service(tmp_path / "lake") as service:
        lake = service.lake
        for _ in range(3):
            await lake.write("t/x", ROWS.format(4))
        start = await service.get("/catalog/tables/t/x")
        deleted = await service.post("/catalog/tables/t/x/delete", {"where": "id >= 3"})
        assert (deleted["rows_deleted"], deleted["row_count"], len(deleted["objects"])) == (3, 9, 1)
        none = await service.post("/catalog/tables/t/x/delete", {"where": "text IS NULL"})
        assert (none["rows_deleted"], none["snapshot_id"]) == (0, deleted["snapshot_id"])

        for _ in range(2):
            await lake.write("t/x", ROWS.format(1))
        done = await service.post("/catalog/tables/t/x/optimize", {})
        assert (done["files_before"], done["files_after"], done["row_count"]) == (3, 1, 11)
        again = expect(await service.http.post("/catalog/tables/t/x/optimize"), 200)
        assert (again["files_before"], again["snapshot_id"]) == (1, done["snapshot_id"])

        columns = "/catalog/tables/t/x/columns"
        assert (await service.post(columns, {"add": [{"name": "n", "type": "INTEGER"}]}))["columns"][-1] == {
            "name": "n",
            "type": "INTEGER",
        }
        assert (await service.post(columns, {"widen": {"n": "BIGINT"}}))["columns"][-1]["type"] == "BIGINT"
        assert (await service.post(columns, {"widen": {"n": "DOUBLE"}}))["columns"][-1]["type"] == "DOUBLE"
        mixed = {"widen": {"id": "DOUBLE", "n": "BIGINT"}}
        assert "'n' cannot be widened from DOUBLE to BIGINT" in (await service.post(columns, mixed, 422))["message"]
        missing = {"widen": {"id": "DOUBLE", "x": "DOUBLE"}}
        assert "no column 'x'" in (await service.post(columns, missing, 422))["message"]
        assert (await service.post(columns, {"rename": {"text": "words"}}))["columns"][1]["name"] == "words"
        assert len((await service.post(columns, {"drop": ["n"]}))["columns"]) == 2
        assert "no column 'n'" in (await service.post(columns, {"drop": ["n"]}, 422))["message"]

        listed = await service.get("/catalog/tables/t/x/snapshots")
        assert (listed["name"], listed["count"], listed["snapshots"][0]["row_count"]) == ("t/x", 12, 11)
        assert (await service.post("/catalog/tables/t/x/restore", {"snapshot_id": int(start["snapshot_id"])}))[
            "row_count"
        ] == 12
        assert (await service.get("/catalog/manifest/t/x"))["columns"] == start["columns"]
        assert (await service.post("/catalog/tables/t/x/restore", {"snapshot_id": "17"}, 404))["code"] == "ErrNotFound"
        tagged = await service.post("/catalog/tables/t/x/tags", {"tag": "audit", "snapshot_id": deleted["snapshot_id"]})
        assert [each["tags"] for each in tagged["snapshots"] if each["tags"]] == [["audit"]]

        renamed = await service.post("/catalog/tables/t/x/rename", {"to": "u/restore"})
        assert (renamed["name"], renamed["dataset_id"], renamed["row_count"]) == (
            "u/restore",
            dataset_id("u/restore"),
            12,
        )
        assert renamed["objects"][0]["key"].startswith("datasets/u/restore/")
        assert await service.get("/catalog/tables/u%2Frestore") == renamed
        assert await service.get("/catalog/manifest/u/restore") == renamed

        dropped = expect(await service.http.delete("/catalog/tables/u%2Frestore"), 200)
        assert "was dropped at" in (await service.get("/catalog/tables/u%2Frestore/snapshots", 404))["message"]
        assert await service.get("/catalog/dropped") == {"tables": [dropped], "count": 1}
        back = await service.post("/catalog/tables/u%2Frestore/restore", {"snapshot_id": dropped["snapshot_id"]})
        assert back["row_count"] == 12
        assert await service.get("/catalog/dropped") == {"tables": [], "count": 0}
        removed = await service.post("/catalog/expire", {"older_than": "0s"})
        assert (removed["snapshots"] > 5, removed["files"] > 5) == (True, True)
        assert (await service.post("/catalog/expire", {})) == {"snapshots": 0, "tables": 0, "files": 0, "bytes": 0}
        kept = (await service.get("/catalog/tables/u%2Frestore/snapshots"))["snapshots"]
        assert {each["snapshot_id"] for each in kept} >= {back["snapshot_id"], deleted["snapshot_id"]}
        assert len(await lake.rows("u/restore", snapshot_id=deleted["snapshot_id"])) == 9
        emptied = await service.post("/catalog/tables/u%2Frestore/delete", {"where": "true"})
        assert (emptied["rows_deleted"], emptied["row_count"], emptied["objects"]) == (12, 0, [])
        assert await lake.rows("u/restore") == []
        assert [path for path in (lake.path / "staging").rglob("*") if path.is_file()] == []


def file_of(size: int, **more: Any) -> DataFile:
    return DataFile(path=f"{size}", size=size, rows=1, **more)


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([], []),
        ([1], []),
        ([1, 2], [[1, 2]]),
        ([SMALL_SIZE], []),
        ([1, SMALL_SIZE, 2], [[1, 2]]),
        ([SMALL_SIZE - 1] * 3, []),
        ([TARGET_SIZE // 2] * 5, [[TARGET_SIZE // 2] * 2] * 2),
    ],
)
def test_small_files_are_compacted_in_batches_that_make_one_file(sizes: list[int], batches: list[list[int]]) -> None:
    assert [[file.size for file in batch] for batch in choose_batches([file_of(size) for size in sizes])] == batches


def test_a_file_with_deletes_is_written_again_whatever_its_size() -> None:
    assert list(choose_batches([file_of(TARGET_SIZE, deletes=["d"])])) == [[file_of(TARGET_SIZE, deletes=["d"])]]
