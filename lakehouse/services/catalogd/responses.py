"""The documents of responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from lakehouse.services.contracts.catalog import Column, Manifest, Snapshot
from lakehouse.services.contracts.tables import DroppedTable, Removed


class ColumnDocument(msgspec.Struct, frozen=True):
    """A column of a table."""

    name: str
    type: str


class ObjectDocument(msgspec.Struct, frozen=True):
    """A data object of a table."""

    key: str
    size: int
    rows: int


class ManifestDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A table at its newest snapshot."""

    dataset_id: str
    name: str
    schema_fingerprint: str
    objects: Sequence[ObjectDocument]
    row_count: int
    bytes: int
    columns: Sequence[ColumnDocument]
    snapshot_id: str
    created_at: datetime
    updated_at: datetime


class SnapshotDocument(msgspec.Struct, frozen=True):
    """A snapshot of a table."""

    snapshot_id: str
    committed_at: datetime
    operation: str
    row_count: int
    tags: Sequence[str]


def make_manifest(manifest: Manifest) -> ManifestDocument:
    """The document of a table."""
    return ManifestDocument(
        dataset_id=manifest.dataset_id,
        name=manifest.name,
        schema_fingerprint=manifest.schema_fingerprint,
        objects=[ObjectDocument(each.key, each.size, each.rows) for each in manifest.objects],
        row_count=manifest.row_count,
        bytes=sum(each.size for each in manifest.objects),
        columns=_make_columns(manifest.columns),
        snapshot_id=manifest.snapshot_id,
        created_at=manifest.created_at,
        updated_at=manifest.updated_at,
    )


def _make_columns(columns: Sequence[Column]) -> list[ColumnDocument]:
    return [ColumnDocument(column.name, column.type) for column in columns]


def extend_manifest(manifest: Manifest, /, **members: object) -> dict[str, object]:
    """The document of a table with further members."""
    return {**msgspec.structs.asdict(make_manifest(manifest)), **members}


def make_registered(manifest: Manifest, *, existing: bool, warnings: Sequence[str]) -> dict[str, object]:
    """The document of a registration: the manifest, and once more under `manifest`."""
    return extend_manifest(manifest, manifest=make_manifest(manifest), existing=existing, warnings=warnings)


def make_list(manifests: Sequence[Manifest], system: Mapping[str, Sequence[Column]] | None = None) -> dict[str, object]:
    """The document of the list of tables. The system tables are listed apart, with their columns."""
    document = {"manifests": [make_manifest(manifest) for manifest in manifests], "count": len(manifests)}
    if system is None:
        return document
    tables = [{"name": name, "columns": _make_columns(columns)} for name, columns in system.items()]
    return {**document, "system": tables}


def make_snapshots(name: str, snapshots: Sequence[Snapshot]) -> dict[str, object]:
    """The document of the list of snapshots."""
    found = [
        SnapshotDocument(each.snapshot_id, each.committed_at, each.operation, each.row_count, each.tags)
        for each in snapshots
    ]
    return {"name": name, "snapshots": found, "count": len(found)}


def make_dropped(dropped: DroppedTable, retired: Sequence[str] = ()) -> dict[str, object]:
    """The document of a dropped table, and of the traces that were retired with it, if there are some."""
    document = {"name": dropped.name, "snapshot_id": dropped.snapshot_id, "dropped_at": dropped.dropped_at}
    return {**document, "retired": retired} if retired else document


def make_dropped_list(dropped: Sequence[DroppedTable]) -> dict[str, object]:
    """The document of the dropped tables that can be restored."""
    return {"tables": [make_dropped(table) for table in dropped], "count": len(dropped)}


def make_removed(removed: Removed) -> dict[str, object]:
    """The document of what an expiry has removed."""
    return {
        "snapshots": removed.snapshots,
        "tables": removed.tables,
        "files": removed.files,
        "bytes": removed.bytes,
    }
