"""Types and schemas of Iceberg, to and from types in DuckDB's notation, and the value of COPY's FIELD_IDS."""

from __future__ import annotations

from collections.abc import Sequence

from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampNanoType,
    TimestampType,
    TimestamptzNanoType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.tables import column_types as types
from lakehouse.services.tables.column_types import ColumnType, UnknownType, format_type
from lakehouse.services.tables.messages import ColumnInfo

_PRIMITIVES: list[tuple[ColumnType, IcebergType]] = [
    (types.BOOLEAN, BooleanType()),
    (types.INTEGER, IntegerType()),
    (types.BIGINT, LongType()),
    (types.FLOAT, FloatType()),
    (types.DOUBLE, DoubleType()),
    (types.DATE, DateType()),
    (types.TIMESTAMP, TimestampType()),
    (types.TIMESTAMPTZ, TimestamptzType()),
    (types.VARCHAR, StringType()),
    (types.UUID, UUIDType()),
    (types.BLOB, BinaryType()),
]
_FOREIGN: list[tuple[ColumnType, IcebergType]] = [  # tables of other engines may have these
    (types.Primitive("TIME"), TimeType()),
    (types.Primitive("TIMESTAMP_NS"), TimestampNanoType()),
    (types.Primitive("TIMESTAMP_NS WITH TIME ZONE"), TimestamptzNanoType()),
]
_TO_ICEBERG = dict(_PRIMITIVES)
_FROM_ICEBERG = {iceberg: duckdb for duckdb, iceberg in (*_PRIMITIVES, *_FOREIGN)}


def to_iceberg(column_type: ColumnType) -> IcebergType:
    """Convert a stored type. The ids in it are provisional: pyiceberg assigns others."""
    match column_type:
        case types.Decimal(precision, scale):
            return DecimalType(precision, scale)
        case types.List(element):
            return ListType(element_id=-1, element=to_iceberg(element), element_required=False)
        case types.Map(key, value):
            return MapType(
                key_id=-1, key_type=to_iceberg(key), value_id=-1, value_type=to_iceberg(value), value_required=False
            )
        case types.Struct(fields):
            return StructType(
                *(
                    NestedField(field_id=-number, name=name, field_type=to_iceberg(field), required=False)
                    for number, (name, field) in enumerate(fields, start=1)
                )
            )
    return _TO_ICEBERG[column_type]


def from_iceberg(iceberg_type: IcebergType) -> ColumnType:
    """Convert a type of a table's schema."""
    if isinstance(iceberg_type, DecimalType):
        return types.Decimal(iceberg_type.precision, iceberg_type.scale)
    if isinstance(iceberg_type, ListType):
        return types.List(from_iceberg(iceberg_type.element_type))
    if isinstance(iceberg_type, MapType):
        return types.Map(from_iceberg(iceberg_type.key_type), from_iceberg(iceberg_type.value_type))
    if isinstance(iceberg_type, StructType):
        return types.Struct(tuple((field.name, from_iceberg(field.field_type)) for field in iceberg_type.fields))
    if isinstance(iceberg_type, FixedType):
        return types.BLOB
    found = _FROM_ICEBERG.get(iceberg_type)
    if found is None:
        raise CallError(
            "unprocessable", f"the table has a column of the type {iceberg_type}, which cannot be read here"
        )
    return found


def read_columns(schema: Schema) -> list[ColumnInfo]:
    """The columns of a schema."""
    return [
        ColumnInfo(field.name, format_type(from_iceberg(field.field_type)), not field.required, field.field_id)
        for field in schema.fields
    ]


def store_columns(columns: Sequence[ColumnInfo]) -> list[tuple[str, ColumnType]]:
    """Map columns to the types in which a table stores them. Raises CallError naming the column."""
    stored: list[tuple[str, ColumnType]] = []
    seen: dict[str, str] = {}
    for column in columns:
        if not column.name:
            raise CallError("unprocessable", "a column has no name")
        if (other := seen.get(column.name.lower())) is not None:
            message = f"the columns {other!r} and {column.name!r} cannot be distinguished in SQL"
            raise CallError("unprocessable", message, details={"column": column.name})
        seen[column.name.lower()] = column.name
        stored.append((column.name, store_type(column.name, column.type)))
    return stored


def store_type(name: str, text: str) -> ColumnType:
    """Map the type of a column to the one in which a table stores it. Raises CallError naming the column."""
    try:
        return types.to_stored(types.parse_type(text))
    except UnknownType as error:
        raise CallError("unprocessable", f"column {name!r}: {error}", details={"column": name}) from None


def make_schema(columns: Sequence[tuple[str, ColumnType]]) -> Schema:
    """The schema of a new table, with the ids that pyiceberg assigns. Raises CallError."""
    from pyiceberg.schema import assign_fresh_schema_ids

    schema = Schema(
        *(
            NestedField(field_id=number, name=name, field_type=to_iceberg(column), required=False)
            for number, (name, column) in enumerate(columns, start=1)
        )
    )
    try:
        fresh: Schema = assign_fresh_schema_ids(schema)
        fresh.find_column_name(1)  # builds the index of names
    except ValueError as error:
        raise CallError("unprocessable", f"the columns cannot be stored together: {error}") from None
    return fresh


def format_field_ids(schema: Schema) -> str:
    """The value of COPY's FIELD_IDS for files with the columns of a schema."""
    return _format_fields(schema.fields)


def _format_fields(fields: Sequence[NestedField], own: int | None = None) -> str:
    entries = [] if own is None else [f"__duckdb_field_id: {own}"]
    entries += (f"{_quote(field.name)}: {_format_id(field.field_id, field.field_type)}" for field in fields)
    return "{" + ", ".join(entries) + "}"


def _format_id(field_id: int, field_type: IcebergType) -> str:
    if isinstance(field_type, StructType):
        return _format_fields(field_type.fields, field_id)
    if isinstance(field_type, ListType):
        element = _format_id(field_type.element_id, field_type.element_type)
        return f"{{__duckdb_field_id: {field_id}, element: {element}}}"
    if isinstance(field_type, MapType):
        key = _format_id(field_type.key_id, field_type.key_type)
        value = _format_id(field_type.value_id, field_type.value_type)
        return f"{{__duckdb_field_id: {field_id}, key: {key}, value: {value}}}"
    return str(field_id)


def _quote(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"
