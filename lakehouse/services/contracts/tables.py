"""The contract of the tables: planning of reads, and commits of data files that have been written beforehand.

A write has four steps under `Tables.lock`: `prepare` decides the columns and their field ids, an engine writes Parquet
files with these ids into the staging directory, `commit` moves the files below the table and publishes them in one
snapshot. A process that is killed between two steps leaves files that the sweep removes, and no change of the table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from lakehouse.services.contracts.catalog import Column, Manifest, Snapshot

WriteMode = Literal["create", "append", "replace", "upsert", "rewrite"]
"""What a commit does: "create" makes the table; "append" adds files; "replace" removes all former files; "upsert" and
"rewrite" remove the files that are named in the commit and add others."""


LINES_SUFFIX = ".ndjson"
"""The ending of a file with one JSON object for each row, which only system tables have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableField:
    """A top-level column of a table at one snapshot: its Iceberg field id, name and type in DuckDB's notation."""

    id: int
    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A Parquet file of a table, or one of JSON lines (`LINES_SUFFIX`).

    `path` is relative to the directory of the lake. `deletes` are the paths of the files with position deletes that
    apply to it, and `recorded_path` is its path as these files spell it.
    """

    path: str
    size: int
    rows: int
    deletes: Sequence[str] = ()
    recorded_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePlan:
    """What a reader of one snapshot needs: the fields, and the files with the rows. Immutable, so it can be cached.

    `query` is SQL over the rows of the files, with `{rows}` in the place of a table, if they are not the rows of the
    table as they are.
    """

    name: str
    snapshot_id: str
    fields: Sequence[TableField]
    files: Sequence[DataFile]
    row_count: int
    query: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WritePlan:
    """What a writer needs to know: the columns of the files in their order, and the value of COPY's FIELD_IDS.

    `existing` is false if the commit will create the table. `token` carries what `commit` needs. `rewrites`: a column
    gets a type that the table's files cannot be read as, so all of them are written again for the same commit.
    """

    name: str
    mode: WriteMode
    existing: bool
    columns: Sequence[Column]
    field_ids: str
    token: bytes
    rewrites: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedFile:
    """A complete Parquet file in the staging directory, synced to the disk."""

    path: Path
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The published result of a write. `warnings` say what the table gave up for it (expired snapshots)."""

    manifest: Manifest
    created: bool
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedTable:
    """A table that was dropped and can be restored until it expires. `snapshot_id` was its newest snapshot."""

    name: str
    snapshot_id: str
    dropped_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChanges:
    """Changes of a table's columns: new ones, names to drop, pairs of old and new names, pairs of names and types."""

    add: Sequence[Column] = ()
    drop: Sequence[str] = ()
    rename: Sequence[tuple[str, str]] = ()
    widen: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What an expiry or a sweep removed; `bytes` is the size of the deleted files."""

    snapshots: int = 0
    tables: int = 0
    files: int = 0
    bytes: int = 0


class LocalFiles(Protocol):
    """Where engines find the data files of tables."""

    def hold(self, files: Iterable[DataFile]) -> AbstractAsyncContextManager[None]:
        """Have data files on the local disk for the length of the block.

        Raises ErrUnprocessable for more than the disk may hold, and what their storage raises.
        """


class InFolder:
    """The data files of a lake in its folder, which are there."""

    @asynccontextmanager
    async def hold(self, files: Iterable[DataFile]) -> AsyncIterator[None]:  # noqa: ARG002
        """Implements `LocalFiles`."""
        yield


IN_FOLDER = InFolder()


class DescribedTables(Protocol):
    """Tables that are listed."""

    async def find(self, name: str) -> Manifest | None:
        """Return a table, or None."""

    def list_columns(self) -> Mapping[str, Sequence[Column]]:
        """The columns of all tables, in the order of their names."""


class ReadableTables(Protocol):
    """The tables that SQL can read, by name."""

    async def find(self, name: str, *, snapshot_id: str | None = None) -> Manifest | None:
        """Return a table, or None (`Tables.find`)."""

    async def list(self) -> Sequence[Manifest]:
        """List all tables in the order of their names."""

    async def plan(self, name: str, *, snapshot_id: str | None = None) -> TablePlan:
        """Plan the read of a table (`Tables.plan`)."""


class Tables(Protocol):
    """The tables of the lake by name; names are matched without regard to case only for conflicts."""

    async def find(self, name: str, *, snapshot_id: str | None = None) -> Manifest | None:
        """Return a table, or None. Raises ErrNotFound for an unknown snapshot."""

    async def list(self) -> Sequence[Manifest]:
        """List all tables in the order of their names."""

    async def snapshots(self, name: str) -> Sequence[Snapshot]:
        """List the snapshots, the newest first. Raises ErrNotFound."""

    async def plan(self, name: str, *, snapshot_id: str | None = None) -> TablePlan:
        """Plan the read of a table at its newest or the given snapshot. Cached by snapshot.

        Raises ErrNotFound, and ErrBadRequest with the field `name` for a name that no table can have.
        """

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """Exclude other writers of the table for the length of the block."""

    async def prepare(
        self,
        name: str,
        columns: Sequence[Column],
        *,
        mode: WriteMode,
        evolve: bool = False,
        key: Sequence[str] = (),
        label: str = "",
        open_types: Mapping[str, str] | None = None,
        texts: Sequence[str] = (),
    ) -> WritePlan:
        """Decide how rows with these columns are written into the table, which is created if it is missing.

        Columns match by name. The plan's columns are all columns of the table after the commit; one that the upload
        lacks is written as NULL, which only `evolve` permits. "append" and "upsert" also take a column of another type
        that the table's column can hold without loss; the writer checks the values. `open_types` and `texts` are those
        of `Inspection`: NULL in an open type is any type of the table, and a column of `texts` fits into text. `label`
        becomes the fingerprint of the schema. For "upsert" and "rewrite" the read that names the files to remove is
        planned after this call. Raises ErrConflict with `differences` if the columns differ and `evolve` does not
        permit it or cannot reconcile them, or if the name collides with another one; ErrBadRequest for a name that is
        not valid, and for a `key` that the columns lack; ErrUnprocessable for a type that cannot be stored.
        """

    async def commit(
        self, plan: WritePlan, files: Sequence[StagedFile], *, remove: Sequence[str] = (), request_id: str = ""
    ) -> Commit:
        """Publish the files in one snapshot; durable at return. `remove` has the paths of replaced files.

        The files are moved out of the staging directory. A plan is committed once: a repeated call with the same plan
        returns the first result. The request id is recorded in the snapshot, for `find_commit`. Raises ErrConflict if
        another program has changed the table since `prepare`.
        """

    async def find_commit(self, name: str, request_id: str) -> Commit | None:
        """Find the commit with a request id among the kept snapshots; its manifest is the present one."""

    async def rename(self, name: str, to: str) -> Manifest:
        """Rename a table. Raises ErrNotFound, ErrConflict, ErrBadRequest."""

    async def drop(self, name: str) -> DroppedTable | None:
        """Drop a table, which can be restored until it expires. Returns None for an unknown table."""

    async def list_dropped(self, name: str | None = None) -> Sequence[DroppedTable]:
        """List the dropped tables, or those that had this name, the newest first."""

    async def restore(self, name: str, snapshot_id: str) -> Manifest:
        """Make a snapshot the newest one again, rows and columns; a dropped table comes back with it.

        Raises ErrNotFound, and ErrConflict if the name of a dropped table has been taken again.
        """

    async def change_columns(self, name: str, changes: ColumnChanges) -> Commit:
        """Change the columns of a table in one snapshot. Raises ErrNotFound, ErrConflict, ErrUnprocessable."""

    async def needs_rewrite(self, name: str, changes: ColumnChanges) -> bool:
        """Whether `change_columns` cannot make the changes, because a column gets a type that the files do not have.

        Then `prepare` with "rewrite", `evolve` and all columns plans it.
        """

    async def tag(self, name: str, tag: str, snapshot_id: str | None) -> None:
        """Name a snapshot, which keeps it from expiry; None removes the name. Raises ErrNotFound, ErrConflict."""

    async def expire(self, older_than: datetime) -> Removed:
        """Expire the snapshots and the dropped tables that are older, and delete the files that only they use.

        The newest snapshot of a table and its tagged ones stay. Files that no table uses are deleted after 24 hours.
        """
