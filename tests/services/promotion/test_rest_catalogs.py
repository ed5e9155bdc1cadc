"""A lake promoted to REST catalogs over HTTP: to one that registers tables, and to one that takes only its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lakehouse.services.lake.promoted import PROMOTED_NAME
from lakehouse.services.promotion import promoter
from lakehouse.services.promotion.process import Refused
from lakehouse.services.promotion.target_objects import list_target
from lakehouse.services.warehouse.bucket import Bucket, make_bucket
from tests.services.promotion.history import make_target, promote, read_all
from tests.services.warehouse.two_services import Service, Table, open_service
from tools.kit.scaleout import configure_rest_catalog
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.rest_catalog import open_rest_catalog


async def tell_tables(service: Service) -> None:
    """Make tables with a history, one of them below another name."""

    async def post(name: str, verb: str, document: object) -> None:
        await service.call("catalogd", "POST", f"/catalog/tables/{name}/{verb}", json.dumps(document).encode())

    first = await service.ingest("sales", "1,x\n2,y\n3,z")
    await service.ingest("sales", "4,w", "&mode=append", idempotency_key="k")
    await service.ingest("sales", "2,changed\n6,u", "&mode=upsert&key=id")
    await post("sales", "delete", {"where": "id = 1"})
    await post("sales", "tags", {"tag": "first", "snapshot_id": first["snapshot_id"]})
    await post("sales", "columns", {"rename": {"word": "text"}})
    await service.ingest("other", "1,x")
    await post("other", "rename", {"to": "a/b"})
    await service.ingest("a/b", "2,y", "&mode=append")


@pytest.fixture
async def lake(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a lake of tables only, and what its services say."""
    folder = tmp_path / "lake"
    async with open_service(folder, {}) as service:
        await tell_tables(service)
        return folder, await read_all(service)


@pytest.fixture
async def bucket(object_storage: ObjectStorage) -> AsyncIterator[Bucket]:
    """A prefix of an ordinary bucket."""
    async with object_storage.open_bucket() as opened:
        yield opened


async def test_tables_and_objects_are_promoted_to_a_catalog_that_registers(
    tmp_path: Path, lake: tuple[Path, dict[str, Any]], bucket: Bucket, object_storage: ObjectStorage
) -> None:
    folder, _ = lake
    async with open_service(folder, {}) as service:
        await service.call("storaged", "PUT", "/storage/put/notes", b"hello", content_type="text/plain")
        expected = await read_all(service)
    async with open_rest_catalog(bucket) as (url, catalog):
        table: Table = {
            "warehouse": bucket.settings.location.rstrip("/"),
            "catalog": url,
            "endpoint": object_storage.endpoint,
            "key_file": str(object_storage.write_key_file(tmp_path / "keys.env")),
        }
        await promote(folder, table, dry_run=True)
        assert catalog.tables == {}
        outcome = await promote(folder, table)
        assert outcome.copied == len(outcome.plan.files)
        assert set(catalog.tables) == {("main", "sales"), ("a", "b")}
        async with open_service(tmp_path / "service", table) as service:
            assert await read_all(service) == expected
            repeated = await service.ingest("sales", "4,w", "&mode=append", idempotency_key="k")
            assert repeated["row_count"] == 4, "as it was answered then"
            await service.call("ingestd", "POST", "/ingest?name=sales&mode=append", b"id,text\n9,n\n")
            assert await service.sql("SELECT count(*) FROM sales") == [[5]]
        assert (await promote(folder, table)).again
        with pytest.raises(Refused, match="has tables with the names of this lake: "):
            async with open_service(tmp_path / "third", {}) as service:
                await service.ingest("Sales", "1,x")
            await promote(tmp_path / "third", table)


async def test_a_bucket_that_takes_only_its_own_tables_is_refused(
    tmp_path: Path, lake: tuple[Path, dict[str, Any]], object_storage: ObjectStorage
) -> None:
    """Before anything is written, and the folder stays in use."""
    folder, expected = lake
    table = configure_rest_catalog(tmp_path, object_storage)
    for dry_run in (True, False):
        with pytest.raises(
            Refused, match=r"can be listed but refuses the key _lakehouse/catalog, .* an ordinary bucket"
        ):
            await promote(folder, table, dry_run=dry_run)
    assert await list_keys(table) == []
    async with open_service(folder, {}) as service:
        assert await read_all(service) == expected


async def test_a_catalog_that_answers_with_other_metadata_is_refused(
    tmp_path: Path, object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This one registers a table, and answers with an empty one. Nothing of it is left in the catalog."""

    async def pass_by(*_arguments: object) -> None:
        """The bucket is not asked whether it takes other keys."""

    monkeypatch.setattr(promoter, "check_owner", pass_by)
    monkeypatch.setattr(promoter, "copy_upload_keys", pass_by)
    folder = tmp_path / "lake"
    async with open_service(folder, {}) as service:
        await service.ingest("b", "1,x")
        await service.ingest("b", "2,y", "&mode=append")
        expected = await read_all(service)
    table = configure_rest_catalog(tmp_path, object_storage)
    with pytest.raises(Refused, match=r"does not take tables with a history: it has registered b by the file s3://"):
        await promote(folder, table)
    assert not (folder / PROMOTED_NAME).exists()
    async with open_service(tmp_path / "target", table) as service:
        assert (await service.call("catalogd", "GET", "/catalog/list"))["count"] == 0
    async with open_service(folder, {}) as service:
        assert await read_all(service) == expected


async def list_keys(table: Table) -> list[str]:
    """What the bucket has."""
    bucket = make_bucket(make_target(table).settings)
    try:
        return sorted(await list_target(bucket))
    finally:
        bucket.close()
