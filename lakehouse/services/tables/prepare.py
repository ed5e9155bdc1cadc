"""The plan of a write: which columns the files have, with which ids, and how the table's schema changes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyiceberg.schema import Schema
from pyiceberg.table.update.schema import _Move, _MoveOperation

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables.catalog import check_free, find_table
from lakehouse.services.tables.column_types import format_type, parse_type, to_stored
from lakehouse.services.tables.iceberg_types import (
    format_field_ids,
    from_iceberg,
    make_schema,
    read_columns,
    store_columns,
    to_iceberg,
)
from lakehouse.services.tables.messages import ColumnInfo, Prepare, WriteToken
from lakehouse.services.tables.reconcile import (
    Difference,
    NamedType,
    SchemaChanges,
    fill_open_type,
    find_differences,
    fits_unchanged,
    plan_changes,
)
from lakehouse.services.tables.transaction import begin
from lakehouse.services.tables.widening import merge, widen

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.update.schema import UpdateSchema

    from lakehouse.services.tables.catalog import LakeCatalog

MAX_SHOWN = 20
"""Differences that an error's message names; its details have all of them."""


def prepare(catalog: LakeCatalog, request: Prepare) -> WriteToken:
    """Plan a write. Raises CallError."""
    uploaded = store_columns(request.columns)
    if not uploaded:
        raise CallError("unprocessable", "a table has at least one column")
    table = find_table(catalog, request.name)
    rewrites = False
    if table is None:
        check_free(catalog, request.name)
        schema = make_schema(uploaded)
    else:
        if request.mode == "create":
            raise CallError("conflict", f"there is a table {request.name!r} already")
        uploaded = adapt_columns(table.schema(), uploaded, request)
        replace = request.mode == "replace"
        changes = find_changes(table.schema(), uploaded, evolve=request.evolve, replace=replace)
        schema = evolve_schema(table, changes)
        rewrites = bool(changes.retyped) and not replace
        if request.mode == "rewrite":
            _check_types(schema, uploaded)
    _check_key(request.key, uploaded)
    snapshot = None if table is None else table.metadata.current_snapshot()
    return WriteToken(
        commit_id=str(uuid.uuid4()),
        name=request.name,
        mode=request.mode,
        evolve=request.evolve,
        base="" if table is None else table.metadata_location,
        base_snapshot="" if snapshot is None else str(snapshot.snapshot_id),
        schema_id=-1 if table is None else table.metadata.current_schema_id,
        columns=tuple(read_columns(schema)),
        uploaded=tuple(ColumnInfo(name, format_type(column)) for name, column in uploaded),
        field_ids=format_field_ids(schema),
        label=request.label,
        rewrites=rewrites,
    )


def _check_types(schema: Schema, wanted: Sequence[NamedType]) -> None:
    for name, column in wanted:
        planned = from_iceberg(schema.find_field(name).field_type)
        if planned != column:
            message = f"column {name!r} cannot be widened from {format_type(planned)} to {format_type(column)}"
            raise CallError("unprocessable", message, details={"column": name})


def _check_key(key: Sequence[str], columns: Sequence[NamedType]) -> None:
    names = {name for name, _ in columns}
    for name in key:
        if name not in names:
            raise CallError("bad request", f"`key` names the column {name!r}, which the upload does not have")


def adapt_columns(schema: Schema, uploaded: Sequence[NamedType], request: Prepare) -> list[NamedType]:
    """Give the columns that the table can store as it is the table's types; the others keep theirs. Raises CallError.

    A change of the table that `evolve` permits is preferred: then the values need no check.
    """
    present = {field.name: from_iceberg(field.field_type) for field in schema.fields}
    adapted: list[NamedType] = []
    for name, column in uploaded:
        mine, merged = present.get(name), None
        if mine is not None:
            if name in request.open_types:
                filled = fill_open_type(parse_type(request.open_types[name]), mine)
                column = filled if filled == mine else to_stored(filled)  # noqa: PLW2901
            merged = (widen(mine, column) or merge(mine, column)) if request.evolve else None
            lossless = merged is None and request.mode in ("append", "upsert")
            if fits_unchanged(mine, column, is_text=name in request.texts, lossless=lossless):
                column = mine  # noqa: PLW2901
        adapted.append((name, column))
    return adapted


def evolve_schema(table: Table, changes: SchemaChanges) -> Schema:
    """The schema that the table has after the write. Nothing is committed. Raises CallError."""
    if not changes:
        return table.schema()
    if changes.retyped and not (table.spec().is_unpartitioned() and table.sort_order().is_unsorted):
        raise CallError("conflict", "the columns of a table that is partitioned or sorted keep their types")
    update = begin(table).update_schema()
    apply_changes(update, table.schema(), changes)
    return update._apply()  # the schema that the commit will make, with its ids


def find_changes(schema: Schema, uploaded: Sequence[NamedType], *, evolve: bool, replace: bool) -> SchemaChanges:
    """The changes of a schema that a write needs. Raises CallError if it does not fit."""
    present = [(field.name, from_iceberg(field.field_type)) for field in schema.fields]
    differences = find_differences(present, uploaded)
    if not differences:
        return SchemaChanges()
    if not evolve:
        raise conflict_of(differences, "evolve=true lets new columns in and widens types")
    required = frozenset(field.name for field in schema.fields if field.required)
    changes, irreconcilable = plan_changes(present, uploaded, required, replace=replace)
    if irreconcilable:
        raise conflict_of(irreconcilable, "no wider type holds the values of both")
    return changes


def conflict_of(differences: Sequence[Difference], hint: str) -> CallError:
    """The error of columns that do not fit, with a list of them in its details."""
    shown = "; ".join(difference.describe() for difference in differences[:MAX_SHOWN])
    if len(differences) > MAX_SHOWN:
        shown += f"; and {len(differences) - MAX_SHOWN} more"
    details = [{"column": difference.column, "was": difference.was, "is": difference.now} for difference in differences]
    return CallError(
        "conflict", f"the columns differ from the table's: {shown} ({hint})", details={"differences": details}
    )


def apply_changes(update: UpdateSchema, schema: Schema, changes: SchemaChanges) -> None:
    """Stage the changes of a schema. A column that is retyped keeps its place."""
    for name, column in changes.retyped:
        update.delete_column((name,))
        update.add_column((name,), to_iceberg(column))
    retyped = {name: update._added_name_to_id[name] for name, _ in changes.retyped}
    before: int | None = None
    for field in schema.fields:
        new = retyped.get(field.name)
        if new is not None:
            operation = _MoveOperation.First if before is None else _MoveOperation.After
            update._move(_Move(field_id=new, full_name=field.name, op=operation, other_field_id=before))
        before = field.field_id if new is None else new
    for path, column in changes.added:
        update.add_column(path, to_iceberg(column))
    for path, column in changes.widened:
        update.update_column(path, to_iceberg(column))
