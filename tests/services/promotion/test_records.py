"""Traces and operations, promoted to PostgreSQL: another service has them, and goes on with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakehouse.config import parse_config
from lakehouse.core.errors import ErrConflict
from lakehouse.services.promotion.progress import Progress
from lakehouse.services.promotion.promoter import Outcome, open_promotion
from lakehouse.services.promotion.records import make_records_address
from tests.services.promotion.history import make_target
from tests.services.promotion.traces import read_traces, tell_traces
from tests.services.warehouse.two_services import Table, open_service
from tools.kit.scaleout import configure_warehouse
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.postgres import Postgres


async def promote_with_records(folder: Path, table: Table, records: str) -> Outcome:
    config = parse_config({"lake": table, "pathwayd": {"store": records}}).config
    address = make_records_address(config.lake, config.pathwayd.store, {})
    target = make_target(table, records=address)
    async with open_promotion(folder, target, Progress()) as promotion:
        return await promotion.run()


async def test_another_service_goes_on_with_them(
    tmp_path: Path, object_storage: ObjectStorage, postgres: Postgres
) -> None:
    folder, table = tmp_path / "lake", configure_warehouse(tmp_path, object_storage, postgres)
    async with open_service(folder, {}) as service:
        revision = await tell_traces(service)
        expected = await read_traces(service, revision)
    records = postgres.create_database()
    taken = postgres.create_database()
    stores: dict[str, Table] = {"pathwayd": {"store": taken}, "observerd": {"store": taken}}
    async with open_service(tmp_path / "other", table, **stores) as service:
        await service.post("pathwayd", "/pathway/add", {"uid": "z", "content": 1})
    with pytest.raises(ErrConflict, match="the database has traces of other services"):
        await promote_with_records(folder, table, taken)

    outcome = await promote_with_records(folder, table, records)
    assert outcome.records == (4, 3)
    assert (outcome.plan.tables, len(outcome.plan.objects)) == ([], 1)
    assert (await promote_with_records(folder, table, records)).again
    with pytest.raises(ErrConflict, match="was promoted without this database"):
        await promote_with_records(folder, table, postgres.create_database())
    stores = {"pathwayd": {"store": records}, "observerd": {"store": records}}
    async with open_service(tmp_path / "other", table, **stores) as service:
        assert await read_traces(service, revision) == expected
        await service.post("pathwayd", "/pathway/add", {"uid": "new", "content": 1, "sources": [{"trace": revision}]})
        retired = await service.post("pathwayd", "/pathway/retire", {"uid": revision, "reason": "all of it"})
        assert sorted(retired["retired"]) == sorted([revision, "c", "new"])
        await service.post("observerd", "/observer/event", {"endpoint": "x", "success": False})
        assert (await service.call("observerd", "GET", "/observer/stats"))["total"] == 4
