"""Expiry: how many snapshots a table keeps, which files go, and what a sweep leaves alone."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakehouse.core.errors import ErrConflict, ErrNotFound
from tools.kit.lake_tables import ScratchLake, in_shared_lake, open_lake

DAY = 86_400


async def append(lake: ScratchLake, times: int) -> list[str]:
    """Append rows; returns the warnings."""
    warnings: list[str] = []
    for _ in range(times):
        warnings += (await lake.write("t", "SELECT 1::BIGINT AS id")).warnings
    return warnings


async def test_a_table_keeps_the_retention_and_never_more_snapshots_than_the_maximum(tmp_path: Path) -> None:
    async with open_lake(tmp_path, retention=0, max_snapshots=20) as lake:
        first = (await lake.write("t", "SELECT 0::BIGINT AS id")).manifest
        await lake.tables.tag("t", "begin", first.snapshot_id)
        assert await append(lake, 9) == []
        assert len(await lake.tables.snapshots("t")) == 5  # at the tenth commit, half of the maximum
    async with open_lake(tmp_path, max_snapshots=20) as lake:
        assert await append(lake, 15) == []
        assert len(await lake.tables.snapshots("t")) == 20  # within the retention none goes
        metadata = len(list((tmp_path / "datasets/t/metadata").glob("*.metadata.json")))
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


@in_shared_lake
async def test_a_sweep_spares_what_is_used_and_what_is_younger_than_a_day(lake: ScratchLake) -> None:
    await lake.write("a/b", "SELECT 1::BIGINT AS id")
    await lake.write("dropped", "SELECT 2::BIGINT AS id")
    dropped = await lake.tables.drop("dropped")
    used = lake.files()
    stray = lake.path / "datasets/a/b/data/stray.parquet"
    young = lake.path / "datasets/a/young.parquet"
    for path in (stray, young):
        path.write_bytes(b"x")
    old = lake.path / "datasets/gone/data/old.parquet"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"xyz")
    for file in (lake.path / "datasets").rglob("*"):
        if file != young:
            os.utime(file, (time.time() - 2 * DAY,) * 2)
    removed = await lake.tables.expire(datetime.now(UTC) - timedelta(days=7))
    assert (removed.snapshots, removed.files, removed.bytes) == (0, 2, 4)
    assert lake.files() == sorted([*used, "datasets/a/young.parquet"])
    assert not old.parent.parent.exists()
    assert dropped is not None
    assert (await lake.tables.restore("dropped", dropped.snapshot_id)).row_count == 1
