"""The JSON document of a finished ingest, and of what is known of it before the commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from lakehouse.services.contracts.catalog import Manifest
from lakehouse.services.contracts.tables import Commit
from lakehouse.services.contracts.write_engine import IngestWarning


class UploadWarning(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was noticed about a column or a line of an upload."""

    column: str | None
    line: int | None
    message: str


class TableColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column: its name, and its type in SQL."""

    name: str
    type: str


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What is known before the commit."""

    rows_added: int
    bytes_in: int
    bytes_stored: int
    existing: bool
    warnings: tuple[UploadWarning, ...]
    former_keys: tuple[str, ...] = ()
    """The keys of the table's objects before the commit."""


class IngestResult(msgspec.Struct, frozen=True, kw_only=True):
    """A finished ingest. `row_count` is the table's, `rows_added` the upload's; `key` is the newest data object.

    `retired` are the traces that ended with rows which the upload has replaced, if there are some.
    """

    dataset_id: str
    name: str
    row_count: int
    rows_added: int
    schema_fingerprint: str
    key: str | None
    existing: bool
    snapshot_id: str
    bytes_in: int
    bytes_stored: int
    columns: tuple[TableColumn, ...]
    warnings: tuple[UploadWarning, ...]
    retired: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def status(self) -> int:
        """201 for a new table."""
        return 200 if self.existing else 201


def make_draft(
    *,
    rows_added: int,
    bytes_in: int,
    files: Sequence[Path],
    existing: Manifest | None,
    warnings: Sequence[IngestWarning],
) -> Draft:
    """Describe what is about to be committed. Blocks for the sizes of the files."""
    return Draft(
        rows_added=rows_added,
        bytes_in=bytes_in,
        bytes_stored=sum(path.stat().st_size for path in files),
        existing=existing is not None,
        warnings=tuple(UploadWarning(column=w.column, line=w.line, message=w.message) for w in warnings),
        former_keys=() if existing is None else tuple(entry.key for entry in existing.objects),
    )


def make_answer(draft: Draft, commit: Commit) -> IngestResult:
    """The answer to an ingest whose commit is published."""
    manifest = commit.manifest
    former = set(draft.former_keys)
    added = [entry.key for entry in manifest.objects if entry.key not in former]
    keys = added or [entry.key for entry in manifest.objects]
    expired = tuple(UploadWarning(column=None, line=None, message=message) for message in commit.warnings)
    return IngestResult(
        dataset_id=manifest.dataset_id,
        name=manifest.name,
        row_count=manifest.row_count,
        rows_added=draft.rows_added,
        schema_fingerprint=manifest.schema_fingerprint,
        key=keys[-1] if keys else None,
        existing=draft.existing,
        snapshot_id=manifest.snapshot_id,
        bytes_in=draft.bytes_in,
        bytes_stored=draft.bytes_stored,
        columns=tuple(TableColumn(name=column.name, type=column.type) for column in manifest.columns),
        warnings=draft.warnings + expired,
    )
