"""Requests to the child and its replies. Both sides import this module, so it imports neither trio nor pyiceberg."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lakehouse.services.warehouse.settings import WarehouseSettings

MAX_FRAME = 256 * 1024 * 1024
"""Bytes of a request and a reply: a table of a million files is described in about 150 MB."""
MAX_SNAPSHOTS = 100
"""Snapshots of a table. A commit of pyiceberg copies all metadata many times: with 270 it takes six times as long."""


class TablesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the child: the folder of the lake, for how many seconds snapshots are kept, and how many.

    `warehouse` is None for a lake in its folder.
    """

    directory: str
    retention: float
    max_snapshots: int = MAX_SNAPSHOTS
    warehouse: WarehouseSettings | None = None


class ColumnInfo(msgspec.Struct, frozen=True, array_like=True):
    """A column: name, type in DuckDB's notation, whether it may be NULL, field id."""

    name: str
    type: str
    nullable: bool = True
    id: int = 0


class FileInfo(msgspec.Struct, frozen=True, array_like=True):
    """A data file of a snapshot; paths are relative to the folder of the lake."""

    path: str
    size: int
    rows: int
    deletes: tuple[str, ...] = ()
    recorded_path: str = ""


class TableState(msgspec.Struct, frozen=True, kw_only=True):
    """A table at one snapshot. It never changes, so it can be kept under its name, location and requested snapshot.

    `location` is the metadata file from which it was read. The files are in the order of their commits.
    """

    name: str
    location: str
    snapshot_id: str
    fingerprint: str
    columns: tuple[ColumnInfo, ...]
    files: tuple[FileInfo, ...]
    row_count: int
    created_ms: int
    updated_ms: int


class SnapshotInfo(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the list of snapshots."""

    snapshot_id: str
    committed_ms: int
    operation: str
    row_count: int
    tags: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A request to the child."""


class Describe(Request, frozen=True, kw_only=True):
    """Describe a table at its newest snapshot, or at the given one. The reply is a `TableState`, or null."""

    name: str
    snapshot_id: str | None = None


class FindLocation(Request, frozen=True, kw_only=True):
    """Find the current metadata file of a table. The reply is its location, or null."""

    name: str


class ListLocations(Request, frozen=True, kw_only=True):
    """List the current metadata files of all tables. The reply is an object: names and locations."""


class ListSnapshots(Request, frozen=True, kw_only=True):
    """List the snapshots of a table. The reply is a list of `SnapshotInfo`, the newest first."""

    name: str


class Prepare(Request, frozen=True, kw_only=True):
    """Plan a write. The reply is a `WriteToken`. `open_types` and `texts` are those of `Tables.prepare`."""

    name: str
    columns: Sequence[ColumnInfo]
    mode: str
    evolve: bool = False
    key: Sequence[str] = ()
    label: str = ""
    open_types: dict[str, str] = {}
    texts: Sequence[str] = ()


class WriteToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit needs to know about its plan.

    `commit_id` identifies the commit in the table's snapshots. `base` is the metadata file on which the plan is based,
    empty for a table that the commit creates. `columns` are those of the files, with their field ids. `uploaded` are
    the stored forms of the columns that were asked for, from which the changes of the schema are computed again.
    `rewrites`: the commit replaces all files of the table.
    """

    commit_id: str
    name: str
    mode: str
    evolve: bool
    base: str
    base_snapshot: str
    schema_id: int
    columns: tuple[ColumnInfo, ...]
    uploaded: tuple[ColumnInfo, ...]
    field_ids: str
    label: str = ""
    rewrites: bool = False


class StagedInfo(msgspec.Struct, frozen=True, array_like=True):
    """A file to be committed: its absolute path, or its path in the bucket, and the number of its rows."""

    path: str
    rows: int


class CommitWrite(Request, frozen=True, kw_only=True):
    """Commit files. The reply is a `Committed`."""

    token: WriteToken
    files: Sequence[StagedInfo]
    remove: Sequence[str] = ()
    request_id: str = ""


class FindCommit(Request, frozen=True, kw_only=True):
    """Find the commit of a request. The reply is a `Committed`, or null."""

    name: str
    request_id: str


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """The state after a commit, and what the table gave up for it."""

    state: TableState
    created: bool
    warnings: tuple[str, ...] = ()


class Restore(Request, frozen=True, kw_only=True):
    """Make a snapshot the newest one again, with its columns; of a dropped table as well. Reply: `TableState`."""

    name: str
    snapshot_id: str


class Rename(Request, frozen=True, kw_only=True):
    """Rename a table. The reply is a `TableState`."""

    name: str
    to: str


class Drop(Request, frozen=True, kw_only=True):
    """Drop a table. The reply is a `Dropped`, or null if there is no such table."""

    name: str


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A dropped table: its newest snapshot and when it was dropped."""

    name: str
    snapshot_id: str
    dropped_ms: int


class ListDropped(Request, frozen=True, kw_only=True):
    """List the dropped tables, the newest first. The reply is a list of `Dropped`."""

    name: str | None = None


class ChangeColumns(Request, frozen=True, kw_only=True):
    """Change the columns of a table. The reply is a `Committed`."""

    name: str
    add: Sequence[ColumnInfo] = ()
    drop: Sequence[str] = ()
    rename: Sequence[tuple[str, str]] = ()
    widen: Sequence[tuple[str, str]] = ()


class Tag(Request, frozen=True, kw_only=True):
    """Give a snapshot a name that keeps it from expiry; without a snapshot, remove the name. Reply: null."""

    name: str
    tag: str
    snapshot_id: str | None = None


class ExpireTable(Request, frozen=True, kw_only=True):
    """Expire the snapshots of one table that were committed before a time. The reply is an `Expired`."""

    name: str
    before_ms: int


class ExpireDropped(Request, frozen=True, kw_only=True):
    """Delete the dropped tables that were dropped before a time. The reply is an `Expired`."""

    before_ms: int


class Sweep(Request, frozen=True, kw_only=True):
    """Delete files below `datasets/` that no snapshot of any table uses and that are older than a time."""

    before_ms: int


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """What an expiry or a sweep has removed."""

    snapshots: int = 0
    tables: int = 0
    files: int = 0
    bytes: int = 0


AnyRequest = (
    Describe
    | FindLocation
    | ListLocations
    | ListSnapshots
    | Prepare
    | CommitWrite
    | FindCommit
    | Restore
    | Rename
    | Drop
    | ListDropped
    | ChangeColumns
    | Tag
    | ExpireTable
    | ExpireDropped
    | Sweep
)
