"""A promotion that is killed again and again, after every few files and at each step of the switch, is completed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.services.lake.errors import LakeError
from lakehouse.services.lake.promoted import PROMOTED_NAME
from tests.services.promotion.history import promote, read_all
from tests.services.warehouse.two_services import Table, open_service
from tools.kit.scaleout import configure_warehouse
from tools.kit.scaleout.object_storage import ObjectStorage
from tools.kit.scaleout.postgres import Postgres

TIMEOUT = 120
WRITES, MAX_RUNS = 5, 12
"""Writes that the bucket answers in each run, of which the large object takes four; runs until all are done."""


def run_killed(folder: Path, table: Table, writes: int, step: str) -> None:
    """Promote in a process that kills itself; see `killed_run`."""
    command = [sys.executable, "-m", "tests.services.promotion.killed_run"]
    done = subprocess.run(
        [*command, str(folder), json.dumps(table), str(writes), step], check=False, timeout=TIMEOUT, capture_output=True
    )
    assert done.returncode == -9, done.stderr.decode()


@pytest.mark.extended
async def test_it_is_completed_by_the_next_run(
    tmp_path: Path, object_storage: ObjectStorage, postgres: Postgres
) -> None:
    table = configure_warehouse(tmp_path, object_storage, postgres)
    folder = tmp_path / "lake"
    async with open_service(folder, {}) as service:
        await service.ingest("t", "1,x", idempotency_key="k")
        await service.ingest("t", "2,y", "&mode=append")
        await service.ingest("gone", "3,z")
        await service.call("catalogd", "DELETE", "/catalog/tables/gone")
        for number in range(4):
            await service.call("storaged", "PUT", f"/storage/put/o{number}", b"x" * (9_000_000 if number == 3 else 1))
        expected = await read_all(service)
    runs = 0
    while not (folder / PROMOTED_NAME).exists():
        run_killed(folder, table, WRITES, "marked")
        runs += 1
        assert runs < MAX_RUNS
    assert runs > 3
    async with open_service(tmp_path / "target", table) as service:
        assert (await service.call("catalogd", "GET", "/catalog/list"))["count"] == 0
    for step in ("marked", "registered"):
        run_killed(folder, table, 0, step)
        with pytest.raises(LakeError, match="was interrupted while it switched: run `lakehouse promote"):
            async with open_service(folder, {}):
                pass
    async with open_service(tmp_path / "target", table) as service:
        assert await read_all(service) == expected  # the catalog has the tables, and the folder does not know it
        await service.ingest("t", "3,z", "&mode=append")
    outcome = await promote(folder, table)
    assert (outcome.copied, outcome.mark is not None and outcome.mark.state) == (0, "promoted")
    assert (await promote(folder, table)).again
    async with open_service(tmp_path / "target", table) as service:
        assert await service.sql("SELECT count(*) FROM t") == [[3]]
