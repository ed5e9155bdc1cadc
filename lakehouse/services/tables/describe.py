"""The state of a table at a snapshot: its columns, its files with their deletes, its numbers."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyiceberg.table.refs import SnapshotRefType

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.catalog import CREATED, LABEL
from lakehouse.services.tables.iceberg_types import read_columns
from lakehouse.services.tables.messages import ColumnInfo, FileInfo, SnapshotInfo, TableState
from lakehouse.services.tables.storage import relative_path, storage_of

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

MAX_ENTRIES = 200_000
"""Entries of manifests that are kept in memory."""


class Entry(NamedTuple):
    """One entry of a manifest: a file that is in the table, or that the manifest's snapshot removed."""

    path: str
    live: bool
    sequence: int
    size: int
    rows: int


class ManifestCache:
    """The entries of the manifests that were read last. Manifests never change."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._manifests: OrderedDict[str, list[Entry]] = OrderedDict()
        self._max_entries = max_entries
        self._entries = 0

    def read(self, manifest: ManifestFile, io: FileIO) -> list[Entry]:
        """The entries of a manifest."""
        path = str(manifest.manifest_path)
        if path in self._manifests:
            self._manifests.move_to_end(path)
            return self._manifests[path]
        entries = [_read_entry(entry) for entry in manifest.fetch_manifest_entry(io, discard_deleted=False)]
        self._manifests[path] = entries
        self._entries += len(entries)
        while self._entries > self._max_entries and len(self._manifests) > 1:
            self._entries -= len(self._manifests.popitem(last=False)[1])
        return entries


def _read_entry(entry: object) -> Entry:
    from pyiceberg.manifest import ManifestEntry, ManifestEntryStatus

    assert isinstance(entry, ManifestEntry)  # noqa: S101 - for the types only
    file = entry.data_file
    live = entry.status != ManifestEntryStatus.DELETED
    return Entry(file.file_path, live, entry.sequence_number or 0, file.file_size_in_bytes, file.record_count)


def choose_snapshot(table: Table, snapshot_id: str | None) -> tuple[Snapshot | None, Schema]:
    """A snapshot with its schema: the newest one with the table's present schema, or the given one with its own."""
    if snapshot_id is None:
        return table.metadata.current_snapshot(), table.schema()
    snapshot = find_snapshot(table.metadata, snapshot_id)
    if snapshot is None:
        name = ".".join(table.name())
        raise CallError("not found", f"the table {name} has no snapshot {snapshot_id[:40]!r}")
    schema = table.schemas()[snapshot.schema_id or 0]
    return snapshot, schema if schema.fields else table.schema()  # some catalogs number schemas from an empty one on


def find_snapshot(metadata: TableMetadata, snapshot_id: str) -> Snapshot | None:
    """A snapshot by its id in decimal digits."""
    if not snapshot_id.isdecimal():
        return None
    return metadata.snapshot_by_id(int(snapshot_id))


def describe(table: Table, name: str, manifests: ManifestCache, snapshot_id: str | None = None) -> TableState:
    """Describe a table at a snapshot. Raises CallError."""
    snapshot, schema = choose_snapshot(table, snapshot_id)
    metadata = table.metadata
    columns = read_columns(schema)
    files, row_count = ([], 0) if snapshot is None else _list_files(table, snapshot, manifests)
    created = metadata.properties.get(CREATED)
    return TableState(
        name=name,
        location=table.metadata_location,
        snapshot_id="" if snapshot is None else str(snapshot.snapshot_id),
        fingerprint=_fingerprint(metadata, schema, columns),
        columns=tuple(columns),
        files=tuple(files),
        row_count=row_count,
        created_ms=int(created) if created and created.isdecimal() else _oldest_ms(metadata),
        updated_ms=metadata.last_updated_ms if snapshot_id is None or snapshot is None else snapshot.timestamp_ms,
    )


def _fingerprint(metadata: TableMetadata, schema: Schema, columns: Sequence[ColumnInfo]) -> str:
    """The label of the schema, or the hash of its columns' names and types."""
    schema_id, _, label = metadata.properties.get(LABEL, "").partition(":")
    if label and schema_id == str(schema.schema_id):
        return str(label)
    parts = (f"{column.name}\x1f{column.type}" for column in columns)
    return hashlib.sha256("\x1e".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _oldest_ms(metadata: TableMetadata) -> int:
    times: list[int] = [entry.timestamp_ms for entry in metadata.metadata_log]
    return min([*times, int(metadata.last_updated_ms)])


def _list_files(table: Table, snapshot: Snapshot, manifests: ManifestCache) -> tuple[list[FileInfo], int]:
    from pyiceberg.manifest import ManifestContent

    entries: list[Entry] = []
    storage, deletes = storage_of(table), False
    for manifest in snapshot.manifests(table.io):
        if manifest.content == ManifestContent.DATA:
            entries += (entry for entry in manifests.read(manifest, table.io) if entry.live)
        elif any(entry.live for entry in manifests.read(manifest, table.io)):
            deletes = True
    entries.sort(key=lambda entry: entry.sequence)
    rows = sum(entry.rows for entry in entries)
    if not deletes:
        return [FileInfo(relative_path(storage, entry.path), entry.size, entry.rows) for entry in entries], rows
    deleted, removed = _map_deletes(table, snapshot)
    return [
        FileInfo(relative_path(storage, entry.path), entry.size, entry.rows, deleted.get(entry.path, ()), entry.path)
        for entry in entries
    ], max(0, rows - removed)


def _map_deletes(table: Table, snapshot: Snapshot) -> tuple[dict[str, tuple[str, ...]], int]:
    """The position deletes of each data file, and how many rows they delete. Another engine has written them."""
    from pyiceberg.manifest import DataFileContent, FileFormat

    try:
        tasks = list(table.scan(snapshot_id=snapshot.snapshot_id).plan_files())
    except ValueError as error:  # pyiceberg refuses equality deletes
        raise _unreadable(str(error)) from None
    found: dict[str, tuple[str, ...]] = {}
    counted: dict[str, Counter[str]] = {}
    rows = 0
    for task in tasks:
        data = task.file.file_path
        for delete in task.delete_files:
            if delete.content != DataFileContent.POSITION_DELETES or delete.file_format != FileFormat.PARQUET:
                raise _unreadable("it has deletes in another form than position deletes in Parquet files")
            path = relative_path(storage_of(table), delete.file_path)
            if path not in counted:
                counted[path] = _count_positions(table.io, delete.file_path)
            rows += counted[path][data]
            found[data] = (*found.get(data, ()), path)
    return found, rows


def _count_positions(io: FileIO, location: str) -> Counter[str]:
    """How many positions a file with deletes has for each data file. It may name files that are gone."""
    import pyarrow.parquet

    try:
        with io.new_input(location).open() as file:
            column = pyarrow.parquet.read_table(file, columns=["file_path"])["file_path"]
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(f"a file with deletes is damaged ({type(error).__name__})") from None
    return Counter({str(pair["values"]): int(pair["counts"]) for pair in column.value_counts().to_pylist()})


def _unreadable(why: str) -> CallError:
    return CallError("unprocessable", f"the table cannot be read here: {why}. Compact it with the engine that wrote it")


def list_snapshots(metadata: TableMetadata) -> Iterator[SnapshotInfo]:
    """The snapshots of a table, the newest first."""
    tags: dict[int, tuple[str, ...]] = {}
    for tag, reference in sorted(metadata.refs.items()):
        if reference.snapshot_ref_type == SnapshotRefType.TAG:
            tags[reference.snapshot_id] = (*tags.get(reference.snapshot_id, ()), tag)
    for snapshot in sorted(
        metadata.snapshots, key=lambda snapshot: (-snapshot.timestamp_ms, -(snapshot.sequence_number or 0))
    ):
        summary = snapshot.summary
        operation = "append" if summary is None else str(summary.operation.value)
        total = None if summary is None else summary.additional_properties.get("total-records")
        rows = int(total) if total and total.isdecimal() else 0
        yield SnapshotInfo(
            str(snapshot.snapshot_id), snapshot.timestamp_ms, operation, rows, tags.get(snapshot.snapshot_id, ())
        )
