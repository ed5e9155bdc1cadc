"""Types of Arrow that DuckDB does not take, and what they become: nothing is lost."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

MAX_PRECISION = 38
"""Digits of the largest DECIMAL of DuckDB."""


def normalize_schema(schema: pa.Schema) -> pa.Schema:
    """The columns under the names c0, c1, ... with types that DuckDB takes."""
    return pa.schema([(f"c{index}", normalize_type(field.type)) for index, field in enumerate(schema)])


def normalize_type(kind: pa.DataType) -> pa.DataType:
    """Half floats become floats, decimals of more than 38 digits text, foreign extensions what they are stored as."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind if kind.extension_name in ("arrow.uuid", "arrow.json") else normalize_type(kind.storage_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal256(kind):
        return pa.string() if kind.precision > MAX_PRECISION else pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_map(kind):
        return pa.map_(normalize_type(kind.key_type), normalize_type(kind.item_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(normalize_type(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(normalize_type(kind.value_type), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(normalize_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct(
            [(kind.field(index).name, normalize_type(kind.field(index).type)) for index in range(kind.num_fields)]
        )
    return kind


def normalize_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the columns of a normalized schema. Raises pyarrow.ArrowInvalid if a value does not fit."""
    columns = [
        column if column.type.equals(field.type) else _cast(column, field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.record_batch(columns, schema=schema)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    return storage if storage.type.equals(kind) else pc.cast(storage, kind)
