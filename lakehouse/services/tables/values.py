"""The values of the contracts, made from what the child has described."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lakehouse.services.contracts.catalog import Column, DataObject, Manifest, Snapshot, dataset_id
from lakehouse.services.contracts.tables import DataFile, DroppedTable, TableField, TablePlan
from lakehouse.services.tables.messages import ColumnInfo, Dropped, SnapshotInfo, TableState


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A table at one snapshot, as its metadata file `location` has it."""

    location: str
    manifest: Manifest
    plan: TablePlan


def convert_state(state: TableState, locate: Callable[[str], str] = str) -> DescribedTable:
    """Convert what the child has described. `locate` gives the path at which engines find a data file."""
    return DescribedTable(state.location, make_manifest(state), make_plan(state, locate))


def make_manifest(state: TableState) -> Manifest:
    """The manifest of a table; the newest object is the last one."""
    return Manifest(
        dataset_id=dataset_id(state.name),
        name=state.name,
        schema_fingerprint=state.fingerprint,
        snapshot_id=state.snapshot_id,
        columns=make_columns(state.columns),
        objects=tuple(DataObject(key=file.path, size=file.size, rows=file.rows) for file in state.files),
        row_count=state.row_count,
        created_at=parse_time(state.created_ms),
        updated_at=parse_time(state.updated_ms),
    )


def make_columns(columns: Sequence[ColumnInfo]) -> tuple[Column, ...]:
    """The columns of a table."""
    return tuple(Column(name=column.name, type=column.type, nullable=column.nullable) for column in columns)


def make_plan(state: TableState, locate: Callable[[str], str] = str) -> TablePlan:
    """The plan of a read."""
    return TablePlan(
        name=state.name,
        snapshot_id=state.snapshot_id,
        fields=tuple(TableField(id=column.id, name=column.name, type=column.type) for column in state.columns),
        files=tuple(
            DataFile(
                path=locate(file.path),
                size=file.size,
                rows=file.rows,
                deletes=tuple(map(locate, file.deletes)),
                recorded_path=file.recorded_path or file.path,
            )
            for file in state.files
        ),
        row_count=state.row_count,
    )


def make_snapshot(info: SnapshotInfo) -> Snapshot:
    """An entry of the list of snapshots."""
    return Snapshot(
        snapshot_id=info.snapshot_id,
        committed_at=parse_time(info.committed_ms),
        operation=info.operation,
        row_count=info.row_count,
        tags=info.tags,
    )


def make_dropped(dropped: Dropped) -> DroppedTable:
    """A dropped table."""
    return DroppedTable(name=dropped.name, snapshot_id=dropped.snapshot_id, dropped_at=parse_time(dropped.dropped_ms))


def parse_time(milliseconds: int) -> datetime:
    """A point in time from milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def to_milliseconds(time: datetime) -> int:
    """Milliseconds since 1970."""
    return int(time.timestamp() * 1000)
