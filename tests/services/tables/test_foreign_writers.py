"""Tables that other engines of the same lake have written to: position deletes, and what cannot be read here."""

from __future__ import annotations

import sqlite3

import pytest

from lakehouse.core.errors import ErrUnprocessable
from tests.services.tables.deletes import commit_deletes, list_data_files, write_position_deletes
from tools.kit.lake_tables import ScratchLake, in_shared_lake

ROWS = "SELECT i AS id FROM range({}, {}) r(i)"


@in_shared_lake
async def test_position_deletes_are_planned_with_the_files_that_they_apply_to(lake: ScratchLake) -> None:
    await lake.write("t", ROWS.format(0, 3))
    first = (await lake.write("t", ROWS.format(3, 6))).manifest
    path = write_position_deletes(lake, first.objects[1].key, 0, 2)
    commit_deletes(lake, "POSITION_DELETES", path, 2, only=first.objects[1].key)
    plan = await lake.tables.plan("t")
    assert [(file.path, file.recorded_path, file.rows, file.deletes) for file in plan.files] == [
        (first.objects[0].key, first.objects[0].key, 3, ()), (first.objects[1].key, first.objects[1].key, 3, (path,)),
    ]  # fmt: skip
    assert plan.row_count == 4
    untouched = await lake.tables.plan("t", snapshot_id=first.snapshot_id)
    assert (untouched.row_count, [file.deletes for file in untouched.files]) == (6, [(), ()])

    newer = (await lake.write("t", ROWS.format(9, 10))).manifest
    assert (newer.row_count, [file.deletes for file in (await lake.tables.plan("t")).files]) == (
        5,
        [(), (path,), ()],
    )
    rewrite = await lake.tables.prepare("t", first.columns, mode="rewrite")
    done = await lake.tables.commit(rewrite, lake.stage(rewrite, ROWS.format(4, 5)), remove=[first.objects[1].key])
    assert (done.manifest.row_count, len(done.manifest.objects)) == (5, 3)
    assert await lake.rows("t") == [(0,), (1,), (2,), (4,), (9,)]
    commit_deletes(lake, "POSITION_DELETES", path, 2)  # for any file, and dangling
    assert (await lake.tables.plan("t")).row_count == 5
    renamed = await lake.tables.rename("t", "u")
    assert renamed.row_count == 5
    assert await lake.rows("u") == [(0,), (1,), (2,), (4,), (9,)]


@in_shared_lake
async def test_equality_deletes_are_refused_with_what_to_do(lake: ScratchLake) -> None:
    await lake.write("t", ROWS.format(0, 3))
    commit_deletes(lake, "EQUALITY_DELETES", "datasets/t/data/equality.parquet", 1)
    with pytest.raises(ErrUnprocessable, match="Compact it with the engine that wrote it"):
        await lake.tables.plan("t")


@in_shared_lake
async def test_rows_that_are_committed_beside_equality_deletes_stay(lake: ScratchLake) -> None:
    """The table cannot be described after the commit, and yet has the files of the commit."""
    first = (await lake.write("t", ROWS.format(0, 3))).manifest
    plan = await lake.tables.prepare("t", first.columns, mode="append")
    staged = lake.stage(plan, ROWS.format(3, 6))
    commit_deletes(lake, "EQUALITY_DELETES", "datasets/t/data/equality.parquet", 1)
    with pytest.raises(ErrUnprocessable, match="the rows were committed, but the table cannot be read here"):
        await lake.tables.commit(plan, staged)
    named = list_data_files(lake)
    assert len(named) == 2
    assert named <= set(lake.files())


@in_shared_lake
async def test_a_file_outside_of_the_folder_is_refused(lake: ScratchLake) -> None:
    await lake.write("t", ROWS.format(0, 3))
    write_position_deletes(lake, "x", 0)
    commit_deletes(lake, "POSITION_DELETES", "file:///etc/passwd", 1)
    with pytest.raises(ErrUnprocessable, match="outside of the lake's folder"):
        await lake.tables.plan("t")
    other = (await lake.write("other", ROWS.format(0, 1))).manifest
    assert list(await lake.tables.list()) == [other]  # one table does not hide the others


@in_shared_lake
async def test_an_entry_of_the_catalog_without_a_name_here_is_left_alone(lake: ScratchLake) -> None:
    first = (await lake.write("t", ROWS.format(0, 3))).manifest
    with sqlite3.connect(lake.path / "catalog.db") as connection:
        connection.execute("UPDATE iceberg_tables SET iceberg_type = NULL")  # as older programs write it
        for name in ("größe", "a b"):
            connection.execute(
                "INSERT INTO iceberg_tables SELECT catalog_name, table_namespace, ?, metadata_location, NULL, 'TABLE'"
                " FROM iceberg_tables WHERE table_name = 't'",
                (name,),
            )
        connection.execute(
            "INSERT INTO iceberg_tables VALUES ('lake', 'main', 'view', 'datasets/view.json', NULL, 'VIEW')"
        )
    assert list(await lake.tables.list()) == [first]
    assert await lake.tables.find("view") is None
    assert (await lake.write("t", ROWS.format(3, 4))).manifest.row_count == 4
