"""Rename, drop, and restore of dropped tables.

A dropped table keeps its files and its row in the catalog, in a namespace of its own, until it expires.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntry
from pyiceberg.table.update import SetLocationUpdate

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.lake.durability import sync_directory
from lakehouse.services.tables.catalog import (
    check_free,
    find_table,
    list_dropped,
    load_dropped,
    load_table,
    table_not_found,
)
from lakehouse.services.tables.describe import find_snapshot
from lakehouse.services.tables.file_io import make_directories
from lakehouse.services.tables.messages import Dropped, Restore
from lakehouse.services.tables.names import DROPPED, encode_dropped, identifier
from lakehouse.services.tables.snapshots import restore_snapshot
from lakehouse.services.tables.storage import Storage
from lakehouse.services.tables.transaction import begin

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

    from lakehouse.services.tables.catalog import LakeCatalog


def rename_table(catalog: LakeCatalog, name: str, to: str) -> Table:
    """Rename a table. Its files get names below the new one; older snapshots keep theirs."""
    table = load_table(catalog, name)
    if name == to:
        return table
    check_free(catalog, to, but=name)
    where = identifier(to)
    catalog.create_namespace_if_not_exists(where[:-1])
    table = catalog.rename_table(identifier(name), where)
    with suppress(CommitFailedException, ValidationException):  # another program commits: the keys stay as they are
        table = _move_location(table, catalog.storage, f"datasets/{to}")
    return table


def _move_location(table: Table, storage: Storage, path: str) -> Table:
    """Commit the new location, and the data files under names below it, which are links to the same files.

    With position deletes, which name the data files that they apply to, the files keep their names, and so they do in a
    bucket, where they would have to be copied.
    """
    files = _list_data_files(table) if storage.has_links else []
    transaction = begin(table)
    transaction._stage((SetLocationUpdate(location=storage.locate(path)),))
    linked: list[str] = []
    if files:
        folder = f"{path}/data"
        make_directories(folder)
        producer = transaction.update_snapshot().overwrite()
        for file in files:
            link = f"{folder}/{file.file_path.rpartition('/')[2]}"
            with suppress(FileExistsError):
                os.link(file.file_path, link)
            linked.append(link)
            producer.delete_data_file(file)
            producer.append_data_file(_copy_entry(file, link))
        sync_directory(folder)
        producer.commit()
    try:
        return transaction.commit_transaction()
    except (CommitFailedException, ValidationException):
        storage.delete(linked)
        raise


def _list_data_files(table: Table) -> list[DataFile]:
    """The data files of the newest snapshot; none if it has deletes, or files that are not below `datasets/`."""
    snapshot = table.metadata.current_snapshot()
    entries: list[ManifestEntry] = []
    for manifest in [] if snapshot is None else snapshot.manifests(table.io):
        if manifest.content != ManifestContent.DATA:
            return []
        entries += manifest.fetch_manifest_entry(table.io)
    entries.sort(key=lambda entry: entry.sequence_number or 0)  # the newest file stays the last one
    files = [entry.data_file for entry in entries]
    return files if all(file.file_path.startswith("datasets/") for file in files) else []


_COPIED = (
    "content", "file_format", "partition", "record_count", "file_size_in_bytes", "column_sizes", "value_counts",
    "null_value_counts", "nan_value_counts", "lower_bounds", "upper_bounds", "key_metadata", "split_offsets",
    "equality_ids", "sort_order_id",
)  # fmt: skip


def _copy_entry(file: DataFile, path: str) -> DataFile:
    """The entry of a file under another path. Its statistics are not read again: the file may have dropped columns."""
    copied = DataFile.from_args(file_path=path, **{name: getattr(file, name) for name in _COPIED})
    copied.spec_id = file.spec_id
    return copied


def drop_table(catalog: LakeCatalog, name: str) -> Dropped | None:
    """Drop a table, which can be restored until it expires."""
    table = find_table(catalog, name)
    if table is None:
        return None
    dropped_ms = time.time_ns() // 1_000_000
    catalog.create_namespace_if_not_exists(DROPPED)
    catalog.rename_table(identifier(name), (*DROPPED, encode_dropped(name, dropped_ms)))
    return _describe_dropped(name, table, dropped_ms)


def _describe_dropped(name: str, table: Table, dropped_ms: int) -> Dropped:
    snapshot = table.metadata.current_snapshot()
    snapshot_id = "" if snapshot is None else str(snapshot.snapshot_id)
    return Dropped(name=name, snapshot_id=snapshot_id, dropped_ms=dropped_ms)


def describe_dropped(catalog: LakeCatalog, name: str | None) -> list[Dropped]:
    """The dropped tables, the newest first."""
    found: list[Dropped] = []
    for entry, former, dropped_ms in list_dropped(catalog, name):
        table = load_dropped(catalog, entry)
        if table is not None:
            found.append(_describe_dropped(former, table, dropped_ms))
    return found


def restore(catalog: LakeCatalog, request: Restore) -> Table:
    """Make a snapshot of a table the newest one, or bring a dropped table back with it. Raises CallError."""
    table = find_table(catalog, request.name)
    if table is not None:
        snapshot = find_snapshot(table.metadata, request.snapshot_id)
        if snapshot is not None:
            return restore_snapshot(table, snapshot)
    found = _find_dropped(catalog, request)
    if found is None:
        if table is None:
            raise table_not_found(catalog, request.name)
        raise CallError("not found", f"the table {request.name!r} has no snapshot {request.snapshot_id[:40]!r}")
    check_free(catalog, request.name)
    where = identifier(request.name)
    catalog.create_namespace_if_not_exists(where[:-1])
    entry, dropped, snapshot = found
    restore_snapshot(dropped, snapshot)  # before the table is visible under its name: the process may be killed
    return catalog.rename_table((*DROPPED, entry), where)


def _find_dropped(catalog: LakeCatalog, request: Restore) -> tuple[str, Table, Snapshot] | None:
    for entry, _, _ in list_dropped(catalog, request.name):
        table = load_dropped(catalog, entry)
        snapshot = None if table is None else find_snapshot(table.metadata, request.snapshot_id)
        if table is not None and snapshot is not None:
            return entry, table, snapshot
    return None
