"""What is known about a table of the lake: columns, manifest, snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

DATASET_NAMESPACE = UUID("a8f3c1d2-4e5b-5a6c-9d8e-7f0a1b2c3d4e")

SYSTEM_SCHEMA = "lakehouse"
"""The schema of the system tables: `lakehouse/requests` in the catalog, `lakehouse.requests` in SQL."""


def is_system_table(name: str) -> bool:
    """Whether a name in the catalog is that of a system table."""
    return name.startswith(f"{SYSTEM_SCHEMA}/")


def dataset_id(name: str) -> str:
    """The id of a table's dataset: the same on every machine."""
    return str(uuid5(DATASET_NAMESPACE, name))


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
