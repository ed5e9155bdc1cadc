"""The commit of a write: files are moved below the table and published in one snapshot.

Nothing is visible before the catalog's row names the new metadata file; a process that is killed earlier leaves files
that no snapshot uses, for the sweep. Every snapshot carries the id of its commit, so a repeated commit is recognized.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import CreateTableTransaction, StagedTable, Transaction
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.catalog import (
    CREATED,
    LABEL,
    TABLE_PROPERTIES,
    check_free,
    find_table,
    load_table,
)
from lakehouse.services.tables.column_types import parse_type
from lakehouse.services.tables.describe import ManifestCache, describe
from lakehouse.services.tables.expiry import Expiring, Expiry
from lakehouse.services.tables.iceberg_types import make_schema, read_columns
from lakehouse.services.tables.messages import Committed, CommitWrite, WriteToken
from lakehouse.services.tables.names import identifier, list_data_files
from lakehouse.services.tables.prepare import apply_changes, find_changes
from lakehouse.services.tables.reconcile import NamedType
from lakehouse.services.tables.storage import Storage, relative_path, storage_of
from lakehouse.services.tables.transaction import (
    REQUEST_ID,
    AlreadyCommitted,
    begin,
    check_new,
    find_by_property,
)

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.update.snapshot import _FastAppendFiles, _OverwriteFiles

    from lakehouse.services.tables.catalog import LakeCatalog

COMMIT_ID = "lakehouse.commit-id"
MAX_REQUEST_ID = 200
REPLACE_ATTEMPTS = 5
"""A replacement of all files is attempted again when another program has committed meanwhile: it then replaces that."""


class Published(NamedTuple):
    """A table with the new snapshot, whether it is new itself, and the snapshots that expired with the commit."""

    table: Table
    created: bool
    expired: Expiring = Expiring()


class Writer:
    """Commits the writes of a lake."""

    def __init__(self, catalog: LakeCatalog, manifests: ManifestCache, expiry: Expiry) -> None:
        self._catalog = catalog
        self._manifests = manifests
        self._expiry = expiry

    def commit(self, request: CommitWrite) -> Committed:
        """Commit files. Raises CallError."""
        token = request.token
        table = find_table(self._catalog, token.name)
        if table is not None and (done := self._find(table, token.name, COMMIT_ID, token.commit_id)) is not None:
            return done
        paths = list_data_files(token.name, token.commit_id, len(request.files))
        self._catalog.storage.place([file.path for file in request.files], paths)
        try:
            published = self._publish(request, table, paths)
        except AlreadyCommitted:
            self._catalog.storage.delete(paths)  # the files of the same request are in the table
            return self._find_done(token.name, request)
        except (CallError, CommitFailedException, ValidationException, TableAlreadyExistsError) as error:
            self._catalog.storage.delete(paths)  # these errors guarantee that nothing was committed
            raise _explain(error) from None
        except NoSuchTableError:  # dropped or renamed between two attempts
            raise _explain_absence(token) from None
        return self._finish(published, token.name)

    def _finish(self, published: Published, name: str) -> Committed:
        """Delete what has expired, and describe the table. Whatever fails here, the rows are in the table."""
        table, created, expired = published
        self._expiry.delete_after_commit(table, expired)
        try:
            state = describe(table, name, self._manifests)
        except CallError as error:
            failure = error.failure
            raise CallError(failure.kind, f"the rows were committed, but {failure.message}") from None
        return Committed(state=state, created=created, warnings=expired.warnings)

    def find(self, name: str, request_id: str) -> Committed | None:
        """The commit of a request, if it is among the kept snapshots; with the present state of the table."""
        table = find_table(self._catalog, name)
        return None if table is None else self._find(table, name, REQUEST_ID, request_id[:MAX_REQUEST_ID])

    def _find(self, table: Table, name: str, key: str, value: str) -> Committed | None:
        snapshot = find_by_property(table.metadata, key, value)
        if snapshot is None:
            return None
        created = snapshot.parent_snapshot_id is None and snapshot.sequence_number == 1
        return Committed(state=describe(table, name, self._manifests), created=created)

    def _find_done(self, name: str, request: CommitWrite) -> Committed:
        done = self.find(name, request.request_id)
        if done is None:
            raise CallError("stale", f"the table {name!r} was changed by another program meanwhile")
        return done

    def _publish(self, request: CommitWrite, table: Table | None, paths: Sequence[str]) -> Published:
        token = request.token
        if not token.base:
            return self._create(request, paths)
        if table is None:
            raise _explain_absence(token)
        for attempt in range(REPLACE_ATTEMPTS):
            try:
                return self._change(request, table, paths)
            except ValidationException:  # the transaction has checked what other programs committed, and refused
                if token.mode != "replace" or attempt == REPLACE_ATTEMPTS - 1:
                    raise
                table = load_table(self._catalog, token.name)
        raise AssertionError("the last attempt returns or raises")

    def _create(self, request: CommitWrite, paths: Sequence[str]) -> Published:
        token = request.token
        present = find_table(self._catalog, token.name)
        if present is not None:  # made since the plan; perhaps by another service with the same request
            check_new(present.metadata, request.request_id[:MAX_REQUEST_ID])
            raise TableAlreadyExistsError
        check_free(self._catalog, token.name)
        self._catalog.ensure_namespace(identifier(token.name)[:-1])
        transaction = CreateTableTransaction(_stage_table(self._catalog, token))
        _append_files(transaction, request, paths, merge=False)
        return Published(transaction.commit_transaction(), created=True)

    def _change(self, request: CommitWrite, table: Table, paths: Sequence[str]) -> Published:
        token = request.token
        transaction = begin(table, request.request_id[:MAX_REQUEST_ID])
        _check_base(table, token)
        _change_schema(transaction, token)
        if token.mode == "append" and not token.rewrites:
            _append_files(transaction, request, paths, merge=True)
        else:
            _overwrite_files(transaction, request, paths)
        expired = self._expiry.stage(transaction)
        return Published(transaction.commit_transaction(), created=False, expired=expired)


def _explain(error: Exception) -> Exception:
    if isinstance(error, CallError):
        return error
    if isinstance(error, TableAlreadyExistsError):
        return CallError("stale", "a table of this name was made meanwhile")
    return CallError("stale", f"the table was changed by another program meanwhile: {error}")


def _explain_absence(token: WriteToken) -> CallError:
    return CallError("stale", f"the table {token.name!r} was dropped or renamed while the rows were written")


def _stage_table(catalog: LakeCatalog, token: WriteToken) -> StagedTable:
    """A table that is not in the catalog yet.

    `catalog.create_table_transaction` refuses nested namespaces, so the parts that it makes are made here.
    """
    location = catalog.storage.locate(f"datasets/{token.name}")
    schema = make_schema(_stored(token))
    if read_columns(schema) != list(token.columns):
        raise CallError("internal", "the ids of the new table's columns are not those of the plan")
    properties = TABLE_PROPERTIES | {CREATED: str(time.time_ns() // 1_000_000)}
    if token.label:
        properties[LABEL] = f"0:{token.label}"
    metadata = new_table_metadata(
        location=location,
        schema=schema,
        partition_spec=UNPARTITIONED_PARTITION_SPEC,
        sort_order=UNSORTED_SORT_ORDER,
        properties=properties,
    )
    return StagedTable(
        identifier=identifier(token.name),
        metadata=metadata,
        metadata_location=f"{location}/metadata/00000-{token.commit_id}.metadata.json",
        io=catalog._load_file_io(properties, location),
        catalog=catalog,
    )


def _stored(token: WriteToken) -> list[NamedType]:
    return [(column.name, parse_type(column.type)) for column in token.uploaded]


def _check_base(table: Table, token: WriteToken) -> None:
    """Raise CallError if the table is not the one of the plan any more. Only other programs can have changed it."""
    if table.metadata.current_schema_id != token.schema_id:
        raise CallError("stale", f"the columns of {token.name!r} were changed by another program meanwhile")
    if token.mode in ("upsert", "rewrite") or token.rewrites:
        snapshot = table.metadata.current_snapshot()
        if token.base_snapshot != ("" if snapshot is None else str(snapshot.snapshot_id)):
            raise CallError("stale", f"the rows of {token.name!r} were changed by another program meanwhile")


def _change_schema(transaction: Transaction, token: WriteToken) -> None:
    """Stage the schema changes of the plan, and check that they give its field ids."""
    schema = transaction.table_metadata.schema()
    changes = find_changes(schema, _stored(token), evolve=token.evolve, replace=token.mode == "replace")
    if changes:
        update = transaction.update_schema()
        apply_changes(update, schema, changes)
        update.commit()
    metadata = transaction.table_metadata
    if read_columns(metadata.schema()) != list(token.columns):
        raise CallError("stale", f"the columns of {token.name!r} were changed by another program meanwhile")
    if token.label:
        label = f"{metadata.current_schema_id}:{token.label}"
        if metadata.properties.get(LABEL) != label:
            transaction.set_properties({LABEL: label})


def _append_files(transaction: Transaction, request: CommitWrite, paths: Sequence[str], *, merge: bool) -> None:
    update = transaction.update_snapshot(snapshot_properties=_properties(request))
    producer = update.merge_append() if merge else update.fast_append()
    _add(producer, _read_files(transaction, request, paths))


def _overwrite_files(transaction: Transaction, request: CommitWrite, paths: Sequence[str]) -> None:
    """Stage the new files in the place of others.

    `overwrite` is used when no file is removed as well: only it is checked against concurrent appends, and without that
    check two programs could insert the same key.
    """
    storage = storage_of(transaction._table)
    added = _read_files(transaction, request, paths)
    everything = request.token.mode == "replace" or request.token.rewrites
    removed = _find_files(transaction, storage, None if everything else set(request.remove))
    if request.token.rewrites and {relative_path(storage, file.file_path) for file in removed} != set(request.remove):
        raise CallError("internal", "a file of the table was not written again")
    producer = transaction.update_snapshot(snapshot_properties=_properties(request)).overwrite()
    for file in removed:
        producer.delete_data_file(file)
    _add(producer, added)


def _add(producer: _FastAppendFiles | _OverwriteFiles, files: Iterable[DataFile]) -> None:
    for file in files:
        producer.append_data_file(file)
    producer.commit()


def _find_files(transaction: Transaction, storage: Storage, wanted: set[str] | None) -> list[DataFile]:
    """The data files of the newest snapshot with these relative paths, or all of them. Raises CallError."""
    from pyiceberg.manifest import ManifestContent

    snapshot = transaction.table_metadata.current_snapshot()
    io = transaction._table.io
    found: dict[str, DataFile] = {}
    for manifest in [] if snapshot is None else snapshot.manifests(io):
        if manifest.content == ManifestContent.DATA:
            for entry in manifest.fetch_manifest_entry(io):
                path = relative_path(storage, entry.data_file.file_path)
                if wanted is None or path in wanted:
                    found[path] = entry.data_file
    if wanted is not None and wanted - found.keys():
        raise CallError("stale", "a file that is to be replaced is not in the table any more")
    return list(found.values())


def _properties(request: CommitWrite) -> dict[str, str]:
    properties = {COMMIT_ID: request.token.commit_id}
    if request.request_id:
        properties[REQUEST_ID] = request.request_id[:MAX_REQUEST_ID]
    return properties


def _read_files(transaction: Transaction, request: CommitWrite, paths: Sequence[str]) -> list[DataFile]:
    """The entries of the new files, with their statistics. Raises CallError for a file that is not as it was said."""
    from pyiceberg.io.pyarrow import parquet_file_to_data_file  # 0.2 s, which reads of tables do without

    metadata, storage = transaction.table_metadata, storage_of(transaction._table)
    files: list[DataFile] = []
    for path, staged in zip(paths, request.files, strict=True):
        try:
            file = parquet_file_to_data_file(transaction._table.io, metadata, storage.locate(path))
        except ValueError as error:
            raise CallError("internal", f"a file that was written does not fit the table: {error}") from None
        if file.record_count != staged.rows:
            raise CallError("internal", f"a file that was written has {file.record_count} rows, not {staged.rows}")
        files.append(file)
    return files
