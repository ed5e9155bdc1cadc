"""A lake with a history, promoted to a warehouse on real servers: what a service says before, another one says after."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from lakehouse.services.lake.directory import open_directory
from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.promoted import PROMOTED_NAME
from lakehouse.services.promotion.copying import PROMOTION_FIELD
from lakehouse.services.promotion.journal import JOURNAL_NAME
from lakehouse.services.promotion.process import Refused
from lakehouse.services.promotion.progress import Progress
from lakehouse.services.promotion.promoter import open_promotion
from lakehouse.services.promotion.target_objects import list_target
from lakehouse.services.warehouse.bucket import make_bucket
from tests.services.promotion.history import REPEATED, CopyLake, History, make_target, promote, read_all
from tests.services.warehouse.two_services import Table, open_service
from tools.kit.scaleout import configure_warehouse
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.postgres import Postgres


@pytest.fixture
def warehouse(tmp_path: Path, object_storage: ObjectStorage, postgres: Postgres) -> Table:
    """The table `[lake]` of an empty warehouse."""
    return configure_warehouse(tmp_path, object_storage, postgres)


async def list_keys(table: Table) -> dict[str, Any]:
    """What the bucket has below the prefix."""
    bucket = make_bucket(make_target(table).settings)
    try:
        return {key: found for key, found in (await list_target(bucket)).items() if not key.startswith("_lakehouse/")}
    finally:
        bucket.close()


async def test_everything_is_there_afterwards(
    tmp_path: Path, warehouse: Table, history: History, copy_lake: CopyLake
) -> None:
    folder = copy_lake()
    planned = await promote(folder, warehouse, dry_run=True)
    assert await list_keys(warehouse) == {}
    assert not (folder / JOURNAL_NAME).exists()
    outcome = await promote(folder, warehouse)
    assert outcome.plan == planned.plan
    assert outcome.copied == len(outcome.plan.files) == len(await list_keys(warehouse))
    assert all(checked.hashed for checked in outcome.checked.values())

    with pytest.raises(LakeError, match=r"were promoted to s3://lake/.* set lake\.warehouse and lake\.catalog"):
        async with open_service(folder, {}):
            pass
    async with open_service(folder, warehouse) as service:  # the folder goes on to be that of a service
        assert await read_all(service) == history[1]
        await service.ingest("gone", "4,d", "&mode=append")
        assert (await service.ingest("sales", **REPEATED))["row_count"] == 5  # as it was answered then
        assert await service.sql("SELECT count(*) FROM sales") == [[7]]
        again = await service.call("catalogd", "POST", "/catalog/tables/lost/restore", b'{"snapshot_id": "%s"}' % (
            next(t for t in history[1]["dropped"]["tables"] if t["name"] == "lost")["snapshot_id"].encode()))  # fmt: skip
        assert again["row_count"] == 1

    outcome = await promote(folder, warehouse)
    assert (outcome.again, outcome.copied) == (True, 0)
    async with open_service(tmp_path / "other", warehouse) as service:
        assert await service.sql("FROM gone ORDER BY id") == [[3, "c"], [4, "d"]]
    with pytest.raises(Refused, match="was promoted to s3://lake/"):
        await promote(folder, {**warehouse, "warehouse": "s3://lake/elsewhere"})


async def test_a_promotion_that_was_cancelled_goes_on_with_what_the_lake_has_now(
    tmp_path: Path, warehouse: Table, copy_lake: CopyLake
) -> None:
    folder, progress = copy_lake(), Progress()

    async def stop_in_the_middle() -> None:
        while progress.copied < 12:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_in_the_middle)
        async with open_promotion(folder, make_target(warehouse), progress) as promotion:
            await promotion.run()
    stored = await list_keys(warehouse)
    assert len(stored) >= 12
    async with open_service(folder, {}) as service:  # the lake is used again meanwhile
        for key in (key for key in stored if not key.startswith("datasets/")):
            await service.call("storaged", "DELETE", f"/storage/delete/{quote(key)}")
        await service.call("storaged", "PUT", "/storage/put/new", b"x", content_type="text/plain")
        await service.call("ingestd", "POST", "/ingest?name=sales&mode=append", b"id,text,n\n70,new,1\n")
        expected = await read_all(service)
    outcome = await promote(folder, warehouse)
    assert outcome.copied < len(outcome.plan.files)
    assert set(await list_keys(warehouse)) == set(outcome.plan.files)
    async with open_service(tmp_path / "service", warehouse) as service:
        assert await read_all(service) == expected


async def test_a_target_with_the_same_names_is_refused_and_stays_as_it_was(
    tmp_path: Path, warehouse: Table, copy_lake: CopyLake
) -> None:
    folder = copy_lake()
    async with open_service(tmp_path / "other", warehouse) as service:
        await service.ingest("Sales", "1,x")  # SQL cannot tell it from `sales`
        before = await list_keys(warehouse)
        with pytest.raises(Refused, match="has tables with the names of this lake: sales"):
            await promote(folder, warehouse)
        await service.call("catalogd", "DELETE", "/catalog/tables/Sales")
        await service.call("storaged", "PUT", "/storage/put/large", b"mine")
        before = await list_keys(warehouse)
        for dry_run in (True, False):
            with pytest.raises(Refused, match=r"other objects with the keys of this lake \(large\)"):
                await promote(folder, warehouse, dry_run=dry_run)
        assert await list_keys(warehouse) == before
        await service.call("storaged", "DELETE", "/storage/delete/large")
        await service.ingest("kept", "1,x")
        await promote(folder, warehouse)  # beside what is there
        assert await service.sql("SELECT count(*) FROM kept, sales") == [[7]]


async def test_what_was_changed_in_the_target_is_copied_again_or_refused(warehouse: Table, copy_lake: CopyLake) -> None:
    folder = copy_lake()
    target = make_target(warehouse)
    bucket = make_bucket(target.settings)
    try:
        async with open_promotion(folder, target, Progress()) as promotion:
            outcome = await promotion.plan()
        data = next(key for key in outcome.plan.files if key.endswith(".parquet"))
        await bucket.put(data, b"of another promotion", {PROMOTION_FIELD: "another"})
        with pytest.raises(Refused, match="other objects with the keys"):
            await promote(folder, warehouse)
        await bucket.delete(data)
        table = next(iter(outcome.plan.tables)).entry
        source = folder / table.location
        source.write_bytes(source.read_bytes().replace(b'"format-version":2', b'"format-version":3'))
        with pytest.raises(Refused, match=r"has format version 3 of Iceberg, and versions 1 and 2 can be promoted"):
            await promote(folder, warehouse)
        source.write_bytes(source.read_bytes().replace(b'"format-version":3', b'"format-version":2'))
        (folder / data).write_bytes(b"cut")
        with pytest.raises(Refused, match=r"is damaged: datasets/.* has 3 bytes"):
            await promote(folder, warehouse)
    finally:
        bucket.close()
    assert await list_keys(warehouse) == {}
    assert not (folder / PROMOTED_NAME).exists()


async def test_a_folder_in_use_is_refused_with_the_process(warehouse: Table, copy_lake: CopyLake) -> None:
    folder = copy_lake()
    async with open_directory(folder):
        with pytest.raises(LakeError, match=f"is in use by process {os.getpid()}"):
            await promote(folder, warehouse)
    with pytest.raises(LakeError, match="there is no lake in the folder"):
        await promote(folder / "datasets", warehouse)
