"""Deletes as other engines write them, which merge on read; pyiceberg itself writes none."""

from __future__ import annotations

from contextlib import chdir, closing
from typing import Any

from lakehouse.services.tables.catalog import load_table, open_catalog
from lakehouse.services.tables.kept_metadata import MetadataKeepingCatalog
from lakehouse.services.tables.messages import TablesSettings
from tools.kit.lake_tables import ScratchLake

PATH = 2147483546
"""The field id of the data file's path in a file with position deletes."""


def commit_deletes(lake: ScratchLake, content: str, location: str, rows: int, *, only: str = "") -> None:
    """Commit a file with deletes, as an engine does that merges on read; pyiceberg itself writes none."""
    with chdir(lake.path):  # the working directory of the tables process
        commit_delete_file(content, location, rows, only.encode())


def make_catalog() -> MetadataKeepingCatalog:
    """A catalog of the lake in the working directory."""
    catalog = open_catalog(TablesSettings(directory=".", retention=0))
    assert isinstance(catalog, MetadataKeepingCatalog)
    return catalog


def list_data_files(lake: ScratchLake) -> set[str]:
    """The data files that the newest snapshot names."""
    from pyiceberg.manifest import ManifestContent

    with chdir(lake.path), closing(make_catalog()) as catalog:
        table = load_table(catalog, "t")
        snapshot: Any = table.metadata.current_snapshot()
        manifests = [manifest for manifest in snapshot.manifests(table.io) if manifest.content == ManifestContent.DATA]
        return {entry.data_file.file_path for found in manifests for entry in found.fetch_manifest_entry(table.io)}


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
    catalog = make_catalog()
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
