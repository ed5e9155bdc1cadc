"""Changes of a table that write no rows: restore of a snapshot, tags, columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.exceptions import CommitFailedException, ValidationError
from pyiceberg.table import Transaction
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.update import SetCurrentSchemaUpdate

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.column_types import Decimal, format_type
from lakehouse.services.tables.describe import find_snapshot
from lakehouse.services.tables.iceberg_types import from_iceberg, store_columns, store_type, to_iceberg
from lakehouse.services.tables.messages import ChangeColumns
from lakehouse.services.tables.transaction import begin

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.update.schema import UpdateSchema

WIDER = "INTEGER to BIGINT, integers to DOUBLE or DECIMAL, FLOAT to DOUBLE, and a DECIMAL to more digits"


def restore_snapshot(table: Table, snapshot: Snapshot) -> Table:
    """Make a snapshot the newest one, and its columns the table's."""
    metadata = table.metadata
    transaction = begin(table)
    schema_id = snapshot.schema_id
    if schema_id is not None and schema_id != metadata.current_schema_id:
        transaction._stage((SetCurrentSchemaUpdate.model_validate({"schema-id": schema_id}),))
    if metadata.current_snapshot_id != snapshot.snapshot_id:
        updates, requirements = transaction._set_ref_snapshot(
            snapshot_id=snapshot.snapshot_id, ref_name=MAIN_BRANCH, type=SnapshotRefType.BRANCH
        )
        transaction._stage(updates, requirements)
    return commit_transaction(transaction)


def set_tag(table: Table, tag: str, snapshot_id: str | None) -> Table:
    """Give a snapshot a name, or remove the name."""
    reference = table.metadata.refs.get(tag)
    if reference is not None and reference.snapshot_ref_type != SnapshotRefType.TAG:
        raise CallError("conflict", f"{tag!r} is a branch of the table")
    if snapshot_id is None:
        if reference is None:
            raise CallError("not found", f"the table has no tag {tag!r}")
        with table.manage_snapshots() as changes:
            changes.remove_tag(tag)
        return table
    snapshot = find_snapshot(table.metadata, snapshot_id)
    if snapshot is None:
        raise CallError("not found", f"the table has no snapshot {snapshot_id[:40]!r}")
    with table.manage_snapshots() as changes:
        changes.create_tag(snapshot.snapshot_id, tag)
    return table


def commit_transaction(transaction: Transaction) -> Table:
    """Commit. Raises CallError if another program has changed the table meanwhile."""
    try:
        return transaction.commit_transaction()
    except CommitFailedException as error:
        raise CallError("conflict", f"the table was changed by another program meanwhile: {error}") from None


def change_columns(table: Table, request: ChangeColumns, transaction: Transaction) -> None:
    """Stage the changes of columns, with a snapshot without new rows, which can be restored like every other one."""
    _check_names(table, request)
    update = transaction.update_schema()
    try:
        _stage_changes(table, request, update)
        update.commit()
        transaction.update_snapshot().fast_append().commit()
    except (ValidationError, ValueError) as error:  # ValidationError: the change is not among those of Iceberg
        raise CallError("unprocessable", f"the columns cannot be changed so: {error}") from None
    names = [field.name for field in transaction.table_metadata.schema().fields]
    if len({name.lower() for name in names}) < len(names):
        raise CallError("conflict", "two columns would have names that differ in case only")
    if not names:
        raise CallError("unprocessable", "a table keeps at least one column")


def _check_names(table: Table, request: ChangeColumns) -> None:
    present = {field.name for field in table.schema().fields}
    wanted = [*request.drop, *(name for name, _ in request.rename), *(name for name, _ in request.widen)]
    for name in wanted:
        if name not in present:
            raise CallError("unprocessable", f"the table has no column {name!r}", details={"column": name})
    if set(request.drop) >= present:
        raise CallError("unprocessable", "a table keeps at least one column")
    folded = {name.lower(): name for name in present}
    for column in request.add:
        if (other := folded.get(column.name.lower())) is not None:
            raise CallError("conflict", f"there is a column {other!r} already", details={"column": column.name})
    for _, name in request.rename:
        if not name:
            raise CallError("unprocessable", "a column has no name")


def _stage_changes(table: Table, request: ChangeColumns, update: UpdateSchema) -> None:
    for name, column in store_columns(request.add):
        update.add_column((name,), to_iceberg(column))
    for name in request.drop:
        update.delete_column((name,))
    for name, to in request.rename:
        update.rename_column((name,), to)
    for name, wanted in request.widen:
        _stage_widening(table, update, name, wanted)


def _stage_widening(table: Table, update: UpdateSchema, name: str, wanted: str) -> None:
    before = from_iceberg(table.schema().find_field(name).field_type)
    after = store_type(name, wanted)
    digits = isinstance(before, Decimal) and isinstance(after, Decimal) and before.scale == after.scale
    pair = (format_type(before), format_type(after))
    if before != after and not digits and pair not in {("INTEGER", "BIGINT"), ("FLOAT", "DOUBLE")}:
        message = f"column {name!r} cannot be widened from {pair[0]} to {pair[1]}: {WIDER} can be"
        raise CallError("unprocessable", message, details={"column": name})
    update.update_column((name,), to_iceberg(after))
