"""Two services on one warehouse, each with a folder of its own: what one has answered, the other sees, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from lakehouse.core.errors import ErrConflict, ErrUnprocessable, LakehouseError
from tests.services.warehouse.two_services import Service, Table, open_service
from tools.kit.scaleout import configure_rest_catalog, configure_warehouse
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.postgres import Postgres


@pytest.fixture
def table(tmp_path: Path, object_storage: ObjectStorage, postgres: Postgres) -> Table:
    return configure_warehouse(tmp_path, object_storage, postgres)


@pytest.fixture
def rest_table(tmp_path: Path, object_storage: ObjectStorage) -> Table:
    return configure_rest_catalog(tmp_path, object_storage)


@pytest.fixture
async def both(tmp_path: Path, table: Table) -> AsyncIterator[tuple[Service, Service]]:
    async with open_service(tmp_path / "one", table) as one, open_service(tmp_path / "other", table) as other:
        yield one, other


Both = tuple[Service, Service]


async def test_each_sees_what_the_other_has_answered(both: Both) -> None:
    one, other = both
    await tell_the_story(*both, name="a/t")
    await one.call("catalogd", "DELETE", "/catalog/tables/b")
    with pytest.raises(LakehouseError, match='no table "b"'):
        await other.sql("FROM b")
    assert (await other.call("catalogd", "GET", "/catalog/list"))["count"] == 0


async def test_over_a_rest_catalog_as_well(tmp_path: Path, rest_table: Table) -> None:
    """This server has rules of its own: keys are those of tables, and names have no `@` as those of dropped tables."""
    async with open_service(tmp_path / "one", rest_table) as one, open_service(tmp_path / "two", rest_table) as two:
        await tell_the_story(one, two, name="t")


async def tell_the_story(one: Service, other: Service, *, name: str) -> None:
    created = await one.ingest(name, "1,x\n2,y")
    assert await other.sql(f'SELECT id FROM "{name}" ORDER BY id') == [[1], [2]]
    await other.ingest(name, "2,z", "&mode=upsert&key=id")
    assert await one.sql(f'SELECT word FROM "{name}" ORDER BY id') == [["x"], ["z"]]
    before = created["snapshot_id"]
    assert await other.sql(f'SELECT word FROM "{name}" AT (VERSION => {before}) ORDER BY id') == [["x"], ["y"]]
    await one.call("catalogd", "POST", f"/catalog/tables/{name.replace('/', '%2F')}/rename", b'{"to": "b"}')
    await other.call("catalogd", "POST", "/catalog/tables/b/delete", b'{"where": "id = 1"}')
    assert await one.sql("SELECT * FROM b") == [[2, "z"]]


async def test_appends_of_four_writers_are_there_once(both: Both) -> None:
    count = 5

    async def append(service: Service, writer: int) -> None:
        for number in range(count):
            await service.ingest("t", f"{writer * 100 + number},w", "&mode=append")

    async with trio.open_nursery() as nursery:
        for writer in range(4):
            nursery.start_soon(append, both[writer % 2], writer)
    for service in both:
        assert await service.sql("SELECT count(*), count(DISTINCT id) FROM t") == [[4 * count, 4 * count]]


async def test_upserts_of_two_services_keep_the_key(both: Both) -> None:
    await both[0].ingest("t", "1,a")

    async def upsert(service: Service, word: str) -> None:
        await service.ingest("t", f"7,{word}", "&mode=upsert&key=id")

    async with trio.open_nursery() as nursery:
        for service, word in zip(both, ("x", "y"), strict=True):
            nursery.start_soon(upsert, service, word)
    assert await both[0].sql("SELECT id, count(*) FROM t GROUP BY id ORDER BY id") == [[1, 1], [7, 1]]


async def test_a_repeated_request_is_answered_by_the_other_service_and_adds_nothing(both: Both) -> None:
    key = {"idempotency_key": "k"}
    first = await both[0].ingest("t", "1,a", "&mode=append", **key)
    assert await both[1].ingest("t", "1,a", "&mode=append", **key) == first
    with pytest.raises(ErrConflict, match="used for another upload"):
        await both[1].ingest("t", "2,a", "&mode=append", **key)
    assert await both[1].sql("SELECT count(*) FROM t") == [[1]]


async def test_one_request_at_both_services_at_once_adds_its_rows_once(both: Both) -> None:
    await both[0].ingest("t", "0,z")
    answers: list[Any] = []

    async def append(service: Service) -> None:
        try:
            answers.append(await service.ingest("t", "1,a", "&mode=append", idempotency_key="same"))
        except ErrConflict as error:
            assert error.retryable  # noqa: PT017 - which of the two is refused is a matter of time
            answers.append(None)

    async with trio.open_nursery() as nursery:
        for service in both:
            nursery.start_soon(append, service)
    assert any(answers)
    assert await both[0].sql("SELECT id FROM t ORDER BY id") == [[0], [1]]


async def test_objects_of_one_service_are_those_of_the_other(both: Both) -> None:
    await both[0].call("storaged", "PUT", "/storage/put/a/b", b"hello", content_type="text/plain")
    answer = await both[1].call("storaged", "GET", "/storage/list?prefix=a/")
    assert [(entry["key"], entry["size"]) for entry in answer["objects"]] == [("a/b", 5)]
    await both[1].call("storaged", "DELETE", "/storage/delete/a/b")
    assert (await both[0].call("storaged", "GET", "/storage/list"))["objects"] == []


async def test_data_files_are_fetched_once_and_kept_within_the_bound(tmp_path: Path, table: Table) -> None:
    rows = "\n".join(f"{n},{n * 7919 % 100003}" for n in range(20_000))
    async with open_service(tmp_path / "one", table) as one:
        sizes = [(await one.ingest(name, rows))["bytes_stored"] for name in ("t", "u")]
    async with open_service(tmp_path / "two", {**table, "cache": sizes[0] + sizes[1] // 2}) as two:
        for name in ("t", "u", "t"):
            assert await two.sql(f"SELECT count(word) FROM {name}") == [[20_000]]
            assert 0 < two.cached() <= sizes[0] + sizes[1] // 2
        with pytest.raises(ErrUnprocessable, match=r"lake\.cache is .* such as Spark or Trino"):
            await two.sql("SELECT count(*) FROM t JOIN u USING (id)")
        assert await two.sql("SELECT count(*) FROM u") == [[20_000]]


async def test_files_of_a_dropped_table_are_deleted_in_the_bucket(both: Both) -> None:
    async def list_keys() -> list[str]:
        answer = await both[0].call("storaged", "GET", "/storage/list?prefix=datasets/")
        return [entry["key"] for entry in answer["objects"]]

    await both[0].ingest("t", "1,a")
    await both[0].ingest("t", "2,b", "&mode=append")
    await both[1].call("catalogd", "POST", "/catalog/tables/t/optimize")
    assert len(await list_keys()) == 3
    await both[1].call("catalogd", "POST", "/catalog/expire", b'{"older_than": "0s"}')
    assert len(await list_keys()) == 1
    await both[0].call("catalogd", "DELETE", "/catalog/tables/t")
    await both[0].call("catalogd", "POST", "/catalog/expire", b'{"older_than": "0s"}')
    assert await list_keys() == []


async def test_a_bucket_of_tables_alone_is_expired_without_a_sweep(
    tmp_path: Path, rest_table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes no object that would name its catalog: what no table uses may be another's, and is left to its server."""
    async with open_service(tmp_path / "one", rest_table) as service:
        await service.ingest("t", "1,a")
        await service.ingest("t", "2,b", "&mode=append")
        await service.call("catalogd", "POST", "/catalog/tables/t/optimize")
        expired = await service.call("catalogd", "POST", "/catalog/expire", b'{"older_than": "0s"}')
        assert (expired["snapshots"], expired["files"] > 0) == (2, True)
        assert "refuses the object _lakehouse/catalog" in caplog.text
        assert await service.sql("SELECT id FROM t ORDER BY id") == [[1], [2]]
