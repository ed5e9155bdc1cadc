"""The catalog and the bucket fail: a clear error in time, nothing half written, and recovery without a restart."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from lakehouse.core.errors import ErrUpstream, LakehouseError
from tests.services.warehouse.two_services import Service, Table, open_service
from tools.kit.scaleout import configure_warehouse
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.postgres import Postgres

DEADLINE = 45.0
"""Seconds in which every call must have ended; the machine of the tests is busy."""


@pytest.fixture
def table(tmp_path: Path, object_storage: ObjectStorage, postgres: Postgres) -> Table:
    return configure_warehouse(tmp_path, object_storage, postgres)


@pytest.fixture
async def service(tmp_path: Path, table: Table) -> AsyncIterator[Service]:
    async with open_service(tmp_path / "lake", table) as running:
        await running.ingest("t", "1,a")
        yield running


async def fail(service: Service) -> list[str]:
    """The messages of a query and of an append, which both fail."""
    messages = []
    for call in (service.sql("FROM t"), service.ingest("t", "2,b", "&mode=append")):
        with trio.fail_after(DEADLINE), pytest.raises(LakehouseError) as caught:
            await call
        assert caught.value.status in (502, 503, 504)
        messages.append(caught.value.message)
    return messages


async def recover(service: Service) -> None:
    """What failed left nothing, and the same append succeeds now."""
    assert await service.sql("SELECT id FROM t") == [[1]]
    await service.ingest("t", "2,b", "&mode=append")
    assert await service.sql("SELECT id FROM t ORDER BY id") == [[1], [2]]


async def test_a_catalog_that_ends_and_comes_back(service: Service, table: Table, postgres: Postgres) -> None:
    url = str(table["catalog"])
    database = url.rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false")
    postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    for message in await fail(service):
        assert "the catalog's database failed" in message
        assert url.partition("@")[0].rpartition(":")[2] not in message  # the password
    postgres.run(f"ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true")
    await recover(service)


async def test_keys_that_are_refused_and_then_replaced(
    service: Service, table: Table, object_storage: ObjectStorage
) -> None:
    key_file = Path(str(table["key_file"]))
    right = key_file.read_text()
    key_file.write_text(right.replace(object_storage.secret, "0" * 40))
    with pytest.raises(ErrUpstream, match=r"lake\.key_file"):
        await service.call("storaged", "PUT", "/storage/put/a", b"1")
    with pytest.raises(ErrUpstream, match=r"lake\.key_file"):
        await service.ingest("t", "2,b", "&mode=append")
    key_file.write_text(right)
    await recover(service)


async def test_a_bucket_whose_server_stands_still(service: Service, object_storage: ObjectStorage) -> None:
    group = object_storage.pid
    os.killpg(group, signal.SIGSTOP)
    try:
        with trio.move_on_after(2) as scope:
            await service.ingest("t", "2,b", "&mode=append")
        assert scope.cancelled_caught  # a caller that has a deadline of its own does not wait for that of the service
    finally:
        os.killpg(group, signal.SIGCONT)
    await recover(service)
