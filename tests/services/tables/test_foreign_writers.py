"""Tables that other engines of the same lake have written to: position deletes, and what cannot be read here."""

from __future__ import annotations

import sqlite3
from contextlib import chdir
from typing import Any

import pytest

from lakehouse.core.errors import ErrUnprocessable
from lakehouse.services.tables.catalog import load_table, open_catalog
from tools.kit.lake_tables import ScratchLake, in_shared_lake

ROWS = "SELECT i AS id FROM range({}, {}) r(i)"


PATH = 2147483546
"""The field id of the data file's path in a file with position deletes."""


def commit_deletes(lake: ScratchLake, content: str, location: str, rows: int, *, only: str = "") -> None:
    """Commit a file with deletes, as an engine does that merges on read; pyiceberg itself writes none."""
    with chdir(lake.path):  # the working directory of the tables process
        commit_delete_file(content, location, rows, only.encode())


def commit_delete_file(content: str, location: str, rows: int, only: bytes) -> None:
    """Commit a file with deletes. With `only` it says that it is for one data file."""
    from pyiceberg.manifest import (
        DataFile,
        DataFileContent,
        FileFormat,
        ManifestContent,
        ManifestEntry,
        ManifestEntryStatus,
        ManifestWriterV2,
    )
    from pyiceberg.typedef import Record

    base: Any = ManifestWriterV2
    members = {
        "content": lambda _: ManifestContent.DELETES,
        "_meta": property(lambda self: {**base._meta.fget(self), "content": "deletes"}),
    }
    make_writer: Any = type("DeleteManifestWriter", (base,), members)
    catalog = open_catalog()
    transaction = load_table(catalog, "t").transaction()
    metadata: Any = transaction.table_metadata
    producer: Any = transaction.update_snapshot().fast_append()
    file = DataFile.from_args(
        content=DataFileContent[content],
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=rows,
        file_size_in_bytes=1,
        lower_bounds={PATH: only} if only else None,
        upper_bounds={PATH: only} if only else None,
        equality_ids=[1] if content == "EQUALITY_DELETES" else None,
    )
    output = producer.new_manifest_output()
    with make_writer(metadata.spec(), metadata.schema(), output, producer.snapshot_id, "gzip") as writer:
        writer.add(
            ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, snapshot_id=producer.snapshot_id, sequence_number=None, data_file=file
            )
        )
    deletes = writer.to_manifest_file()
    existing = producer._existing_manifests
    producer._existing_manifests = lambda: [*existing(), deletes]
    producer.commit()
    transaction.commit_transaction()
    catalog.engine.dispose()


def write_position_deletes(lake: ScratchLake, data: str, *positions: int) -> str:
    """A file that deletes rows of a data file by their positions."""
    path = "datasets/t/data/deletes.parquet"
    values = ", ".join(f"('{data}', {position}::BIGINT)" for position in positions)
    lake.connection.execute(
        f"COPY (FROM (VALUES {values}) v(file_path, pos)) TO '{lake.path / path}'"
        " (FORMAT parquet, FIELD_IDS {file_path: 2147483546, pos: 2147483545})"
    )
    return path


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
