"""The comparison of a table in the warehouse with that of the folder. Used by the child.

Both are read with pyiceberg, from the current metadata file on, and through the access to files that a service uses.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.promotion.messages import CheckedTable, SnapshotRows
from lakehouse.services.tables.catalog import open_metadata
from lakehouse.services.tables.storage import Storage

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

    from lakehouse.services.tables.catalog import LakeCatalog


class _File(NamedTuple):
    path: str
    is_delete: bool
    rows: int
    size: int


class TableChecks:
    """Compares the tables of two catalogs."""

    def __init__(self, source: LakeCatalog, target: LakeCatalog) -> None:
        self._source = source
        self._target = target

    def check(self, path: str, shown: str, *, max_bytes: int) -> CheckedTable:
        """Compare a table by the path of its metadata file. Raises CallError for a difference."""
        before = open_metadata(self._source, path)
        after = open_metadata(self._target, self._target.storage.locate(path))
        _check_metadata(before, after, shown)
        claims: dict[str, int] = {}
        snapshots: list[SnapshotRows] = []
        for snapshot in before.metadata.snapshots:
            moved = after.metadata.snapshot_by_id(snapshot.snapshot_id)
            assert moved is not None  # noqa: S101 - compared above
            files = _list_files(before, snapshot, self._source.storage, {})
            found = _list_files(after, moved, self._target.storage, claims)
            _check_files(files, found, f"snapshot {snapshot.snapshot_id} of {shown}")
            rows = sum(file.rows for file in files if not file.is_delete)
            snapshots.append(SnapshotRows(str(snapshot.snapshot_id), len(files), rows))
        rows, hashed = _check_rows(before, after, shown, max_bytes)
        return CheckedTable(claims=claims, snapshots=tuple(snapshots), rows=rows, hashed=hashed)


def _check_metadata(before: Table, after: Table, shown: str) -> None:
    """All but locations is equal: identity, schemas, snapshots, their order, tags."""
    pairs = {
        "identity": (before.metadata.table_uuid, after.metadata.table_uuid),
        "schemas": (before.metadata.schemas, after.metadata.schemas),
        "schema": (before.metadata.current_schema_id, after.metadata.current_schema_id),
        "partitions": (before.metadata.partition_specs, after.metadata.partition_specs),
        "tags": (before.metadata.refs, after.metadata.refs),
        "history": (before.metadata.snapshot_log, after.metadata.snapshot_log),
        "newest snapshot": (before.metadata.current_snapshot_id, after.metadata.current_snapshot_id),
        "snapshots": tuple(
            [(each.snapshot_id, each.parent_snapshot_id, each.timestamp_ms, each.summary, each.schema_id) for each in
             table.metadata.snapshots]
            for table in (before, after)
        ),
    }  # fmt: skip
    for what, (was, now) in pairs.items():
        if was != now:
            raise _different(f"{shown} has other values of its {what}")


def _list_files(table: Table, snapshot: Snapshot, storage: Storage, claims: dict[str, int]) -> list[_File]:
    """The files of a snapshot by paths. The sizes that the metadata has of all files are added to `claims`."""
    from pyiceberg.manifest import ManifestContent

    files: list[_File] = []
    for manifest in snapshot.manifests(table.io):
        claims[storage.resolve(manifest.manifest_path)] = manifest.manifest_length
        is_delete = manifest.content != ManifestContent.DATA
        for entry in manifest.fetch_manifest_entry(table.io):
            file = entry.data_file
            path = storage.resolve(file.file_path)
            files.append(_File(path, is_delete, file.record_count, file.file_size_in_bytes))
            claims[path] = file.file_size_in_bytes
    return sorted(files)


def _check_files(before: list[_File], after: list[_File], what: str) -> None:
    def identify(files: list[_File]) -> list[tuple[str, bool, int, int]]:
        """Files with deletes have got other sizes, since the locations in them are longer."""
        return [(file.path, file.is_delete, file.rows, 0 if file.is_delete else file.size) for file in files]

    if identify(before) != identify(after):
        raise _different(f"{what} has other files: {len(before)} in the folder, {len(after)} in the warehouse")


def _check_rows(before: Table, after: Table, shown: str, max_bytes: int) -> tuple[int, bool]:
    """Read the newest snapshot: its values, or the footers of its files where they are too large for that."""
    try:
        tasks = list(after.scan().plan_files())
    except ValueError:  # equality deletes, which pyiceberg refuses, in the folder as well
        return _read_footers(after), False
    size = sum(task.file.file_size_in_bytes for task in tasks)
    if size > max_bytes:
        return _read_footers(after), False
    (was, rows), (now, read) = _hash_rows(before), _hash_rows(after)
    if (was, rows) != (now, read):
        raise _different(f"{shown} has other rows: {rows} in the folder, {read} in the warehouse")
    return read, True


def _hash_rows(table: Table) -> tuple[str, int]:
    """A hash of the values of the newest snapshot, and how many rows it has."""
    import pyarrow as pa

    rows = table.scan().to_arrow().combine_chunks()
    digest = hashlib.sha256()
    with pa.ipc.new_stream(_HashingSink(digest), rows.schema) as writer:
        writer.write_table(rows)
    return digest.hexdigest(), rows.num_rows


class _HashingSink:
    """A file that is hashed and not kept."""

    closed = False

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""


def _read_footers(table: Table) -> int:
    """The rows of the data files of the newest snapshot, from the files themselves. Raises CallError."""
    import pyarrow.parquet as pq
    from pyiceberg.manifest import ManifestContent

    snapshot, total = table.metadata.current_snapshot(), 0
    for manifest in [] if snapshot is None else snapshot.manifests(table.io):
        if manifest.content != ManifestContent.DATA:
            continue
        for entry in manifest.fetch_manifest_entry(table.io):
            with table.io.new_input(entry.data_file.file_path).open() as file:
                rows = int(pq.read_metadata(file).num_rows)
            if rows != entry.data_file.record_count:
                raise _different(f"the data file {entry.data_file.file_path} has {rows} rows")
            total += rows
    return total


def _different(what: str) -> CallError:
    return CallError("conflict", f"the check failed, and nothing was switched: {what}")
