"""Expiry: how many snapshots a table keeps, which files go, and what a sweep leaves alone."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakehouse.core.errors import ErrConflict, ErrNotFound, LakehouseError
from lakehouse.services.tables.messages import Expired, Sweep
from tools.kit.lake_tables import ScratchLake, in_shared_lake, open_lake


async def append(lake: ScratchLake, times: int) -> list[str]:
    """Append rows; returns the warnings."""
    warnings: list[str] = []
    for _ in range(times):
        warnings += (await lake.write("t", "SELECT 1::BIGINT AS id")).warnings
    return warnings


async def test_a_table_keeps_the_retention_and_never_more_snapshots_than_the_maximum(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    async with open_lake(here, retention=0, max_snapshots=20) as lake:
        first = (await lake.write("t", "SELECT 0::BIGINT AS id")).manifest
        await lake.tables.tag("t", "begin", first.snapshot_id)
        assert await append(lake, 9) == []
        assert len(await lake.tables.snapshots("t")) == 5  # at the tenth commit, half of the maximum
    here.rename(there)  # a folder can be moved while nobody has it open
    async with open_lake(there, max_snapshots=20) as lake:
        assert await append(lake, 15) == []
        assert len(await lake.tables.snapshots("t")) == 20  # within the retention none goes
        metadata = len(list((there / "datasets/t/metadata").glob("*.metadata.json")))
        assert metadata <= 22  # the present one and twenty before it
        (warning,) = await append(lake, 1)
        assert "the table had more than 20 snapshots: the 3 oldest" in warning
        snapshots = await lake.tables.snapshots("t")
        assert (len(snapshots), snapshots[-1].snapshot_id, snapshots[-1].tags) == (18, first.snapshot_id, ("begin",))
        assert len(await lake.rows("t")) == 26
        assert await lake.rows("t", snapshot_id=first.snapshot_id) == [(0,)]
        manifests = [path for path in lake.files() if path.endswith(".avro")]
        assert len(manifests) < 50  # a list and a manifest for each snapshot, and the merged ones


@in_shared_lake
async def test_an_expiry_deletes_the_files_that_only_expired_snapshots_use(lake: ScratchLake) -> None:
    first = (await lake.write("t", "SELECT 1::BIGINT AS id")).manifest
    second = (await lake.write("t", "SELECT 2::BIGINT AS id", mode="replace")).manifest
    third = (await lake.write("t", "SELECT 3::BIGINT AS id")).manifest
    await lake.tables.tag("t", "kept", second.snapshot_id)
    before = lake.files()
    assert (await lake.tables.expire(datetime.now(UTC) - timedelta(days=1))).snapshots == 0
    assert lake.files() == before
    removed = await lake.tables.expire(datetime.now(UTC) + timedelta(seconds=1))
    assert (removed.snapshots, removed.tables, removed.files) == (1, 0, 3)  # a list, a manifest, a data file
    assert removed.bytes > 0
    gone = set(before) - set(lake.files())
    assert first.objects[0].key in gone
    assert len(gone) == 3
    assert await lake.rows("t") == [(2,), (3,)]
    assert await lake.rows("t", snapshot_id=second.snapshot_id) == [(2,)]
    with pytest.raises(ErrNotFound):
        await lake.tables.plan("t", snapshot_id=first.snapshot_id)
    with pytest.raises(ErrNotFound, match="no tag 'other'"):
        await lake.tables.tag("t", "other", None)
    with pytest.raises(ErrConflict, match="is a branch"):
        await lake.tables.tag("t", "main", third.snapshot_id)
    await lake.tables.tag("t", "kept", None)
    assert (await lake.tables.expire(datetime.now(UTC) + timedelta(seconds=1))).snapshots == 1
    assert await lake.rows("t") == [(2,), (3,)]


def now_ms() -> int:
    """The present time, later than every file so far and earlier than every further one."""
    time.sleep(0.02)
    moment = int(time.time() * 1000)
    time.sleep(0.02)
    return moment


@in_shared_lake
async def test_a_sweep_spares_what_is_used_and_what_is_young(lake: ScratchLake) -> None:
    await lake.write("a/b", "SELECT 1::BIGINT AS id")
    await lake.write("dropped", "SELECT 2::BIGINT AS id")
    dropped = await lake.tables.drop("dropped")
    await lake.write("foreign", "SELECT 3::BIGINT AS id")
    with closing(sqlite3.connect(lake.path / "catalog.db")) as connection, connection:
        connection.execute("UPDATE iceberg_tables SET table_name = 'größe' WHERE table_name = 'foreign'")
        connection.execute(
            "INSERT INTO iceberg_tables VALUES ('other', 'x', 'v', 'datasets/v/metadata/v.json', NULL, 'VIEW')"
        )
    view = lake.path / "datasets/v/metadata/older.json"
    view.parent.mkdir(parents=True)
    view.write_bytes(b"{}")
    used = lake.files()
    stray = lake.path / "datasets/a/b/data/stray.parquet"
    stray.write_bytes(b"x")
    old = lake.path / "datasets/gone/data/old.parquet"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"xyz")
    moment = now_ms()
    young = lake.path / "datasets/a/young.parquet"
    young.write_bytes(b"x")
    linked = lake.path / "datasets/a/linked.parquet"
    linked.hardlink_to(stray)  # as a rename makes them before its commit
    stray.unlink()
    assert (await lake.tables.expire(datetime.now(UTC) - timedelta(days=7))).files == 0  # all are younger than a day
    removed: Expired = await lake.tables.process.call(Sweep(before_ms=moment), Expired)
    assert (removed.files, removed.bytes) == (1, 3)
    assert lake.files() == sorted([*used, "datasets/a/young.parquet", "datasets/a/linked.parquet"])
    assert not old.parent.parent.exists()
    assert dropped is not None
    assert (await lake.tables.restore("dropped", dropped.snapshot_id)).row_count == 1
    with closing(sqlite3.connect(lake.path / "catalog.db")) as connection, connection:
        connection.execute("UPDATE iceberg_tables SET table_name = 'back' WHERE table_name = 'größe'")
    assert await lake.rows("back") == [(3,)]


@in_shared_lake
async def test_a_table_without_metadata_is_no_reason_to_lose_or_keep_those_of_others(lake: ScratchLake) -> None:
    for _ in range(2):
        await lake.write("z", "SELECT 2::BIGINT AS id")
    with closing(sqlite3.connect(lake.path / "catalog.db")) as connection, connection:
        lost = ("lake", "main", "lost", "datasets/lost/metadata/0.metadata.json", None, "TABLE")
        connection.execute("INSERT INTO iceberg_tables VALUES (?, ?, ?, ?, ?, ?)", lost)
    try:
        assert [manifest.name for manifest in await lake.tables.list()] == ["z"]
        with pytest.raises(LakehouseError, match="the log has the reason"):
            await lake.tables.plan("lost")
        with pytest.raises(LakehouseError, match="the log has the reason"):  # a stray file may be one of its files
            await lake.tables.process.call(Sweep(before_ms=now_ms()), Expired)
        assert (await lake.tables.expire(datetime.now(UTC) + timedelta(seconds=1))).snapshots == 1
        assert await lake.rows("z") == [(2,), (2,)]
    finally:
        with closing(sqlite3.connect(lake.path / "catalog.db")) as connection, connection:
            connection.execute("DELETE FROM iceberg_tables WHERE table_name = 'lost'")


@pytest.mark.extended
@in_shared_lake
async def test_a_table_whose_metadata_is_lost_stops_the_sweep_and_not_the_expiry_of_others(lake: ScratchLake) -> None:
    await lake.write("lost", "SELECT 1::BIGINT AS id")
    for _ in range(2):
        await lake.write("z", "SELECT 2::BIGINT AS id")
    (metadata,) = (lake.path / "datasets/lost/metadata").glob("*.metadata.json")
    content = metadata.read_bytes()
    metadata.unlink()
    reader = await lake.tables.list()
    assert [manifest.name for manifest in reader] == ["lost", "z"]  # what was read before is kept
    async with open_lake(lake.path) as other:
        assert [manifest.name for manifest in await other.tables.list()] == ["z"]
        with pytest.raises(LakehouseError, match="the log has the reason"):
            await other.tables.plan("lost")
        stray = lake.path / "datasets/stray.parquet"
        stray.write_bytes(b"x")
        with pytest.raises(LakehouseError, match="the log has the reason"):  # it may be one of the lost table
            await other.tables.process.call(Sweep(before_ms=now_ms()), Expired)
        before = lake.files()
        assert (await other.tables.expire(datetime.now(UTC) + timedelta(seconds=1))).snapshots == 1
        assert len(await other.tables.snapshots("z")) == 1
        assert all(path in lake.files() for path in before if path.startswith("datasets/lost"))
    metadata.write_bytes(content)
