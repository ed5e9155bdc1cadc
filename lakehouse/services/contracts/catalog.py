"""The contract of a catalog: tables by name, with snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The name of a column, and its type in SQL notation."""

    name: str
    type: str
    nullable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DataObject:
    """One file with rows of a table."""

    key: str
    size: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A table at one snapshot. `snapshot_id` is a decimal string: it may exceed the integers that JSON represents."""

    dataset_id: str
    name: str
    schema_fingerprint: str
    snapshot_id: str
    columns: Sequence[Column]
    objects: Sequence[DataObject]
    row_count: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One committed state of a table. `operation` is "append", "overwrite", "delete" or "replace".

    A snapshot with `tags` does not expire.
    """

    snapshot_id: str
    committed_at: datetime
    operation: str
    row_count: int
    tags: Sequence[str] = ()


class Catalog(Protocol):
    """Tables by name. A commit is atomic: a reader gets the table before the commit or after it."""

    async def find(self, name: str, *, snapshot_id: str | None = None) -> Manifest | None:
        """Return a table, at its newest snapshot or a given one; None for an unknown table.

        Raises ErrNotFound for an unknown snapshot.
        """

    async def list(self) -> Sequence[Manifest]:
        """List all tables in the order of their names."""

    async def snapshots(self, name: str) -> Sequence[Snapshot]:
        """List the snapshots of a table, the newest first. Raises ErrNotFound."""

    async def append(self, name: str, columns: Sequence[Column], objects: Sequence[DataObject]) -> Manifest:
        """Add stored data objects to a table; the commit is durable at return. A missing table is created."""

    async def replace(self, name: str, columns: Sequence[Column], objects: Sequence[DataObject]) -> Manifest:
        """Replace the contents of a table by stored data objects, with the same guarantees as `append`."""

    async def drop(self, name: str) -> bool:
        """Drop a table, which can be restored until its snapshots expire. Returns whether the table existed."""
