"""The type that holds the values of a column and of an upload: as Iceberg widens it, or by writing the files again.

Pure functions of stored types (`column_types.to_stored`).
"""

from __future__ import annotations

from lakehouse.services.tables.column_types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    FLOAT,
    INTEGER,
    TIMESTAMP,
    TIMESTAMPTZ,
    UUID,
    VARCHAR,
    ColumnType,
    Decimal,
    List,
    Map,
    Primitive,
    Struct,
    UnknownType,
    parse_type,
    to_stored,
)

_HOLDS = {
    (BIGINT, INTEGER), (DOUBLE, FLOAT), (DOUBLE, INTEGER), (DOUBLE, BIGINT),
    *((VARCHAR, other) for other in (BIGINT, INTEGER, FLOAT, DOUBLE, BOOLEAN, DATE, TIMESTAMP, TIMESTAMPTZ, UUID)),
}  # fmt: skip
_INTEGERS: dict[ColumnType, int] = {INTEGER: 10, BIGINT: 19}
"""The digits of the largest values."""


def widen(table: ColumnType, upload: ColumnType) -> ColumnType | None:
    """The type that holds the values of both, as Iceberg can widen the table's; None if there is none.

    Scalar values fit into a text column, because text is what they were read from.
    """
    if table == upload:
        return table
    match table, upload:
        case Struct(), Struct():
            return _widen_structs(table, upload)
        case List(mine), List(other):
            element = widen(mine, other)
            return None if element is None else List(element)
        case Map(key, mine), Map(other_key, other):
            value = widen(mine, other) if key == other_key else None
            return None if value is None else Map(key, value)
    if isinstance(table, Primitive | Decimal) and isinstance(upload, Primitive | Decimal):
        return _widen_scalars(table, upload)
    return None


def _widen_structs(table: Struct, upload: Struct) -> Struct | None:
    """Merge the fields by name; new ones follow the table's."""
    others = dict(upload.fields)
    merged: list[tuple[str, ColumnType]] = []
    for name, mine in table.fields:
        field = widen(mine, others.pop(name)) if name in others else mine
        if field is None:
            return None
        merged.append((name, field))
    taken = {name.lower() for name, _ in table.fields}
    if any(name.lower() in taken for name in others):
        return None
    return Struct((*merged, *others.items()))


def _widen_scalars(table: Primitive | Decimal, upload: Primitive | Decimal) -> ColumnType | None:
    if (table, upload) in _HOLDS:
        return table
    if (upload, table) in {(BIGINT, INTEGER), (DOUBLE, FLOAT)}:
        return upload
    if table == FLOAT and upload in _INTEGERS:
        return DOUBLE
    if table == VARCHAR and isinstance(upload, Decimal):
        return table
    if isinstance(table, Decimal) and (other := _as_decimal(upload)) is not None and other.scale <= table.scale:
        return _join_decimals(table, other)
    return None


def _as_decimal(column: ColumnType) -> Decimal | None:
    """The DECIMAL that holds the values of an integer or a DECIMAL; None for any other type."""
    return column if isinstance(column, Decimal) else Decimal(_INTEGERS[column], 0) if column in _INTEGERS else None


def _join_decimals(one: Decimal, other: Decimal) -> Decimal | None:
    """The DECIMAL that holds the values of both; None if it would have too many digits."""
    scale = max(one.scale, other.scale)
    precision = max(one.precision - one.scale, other.precision - other.scale) + scale
    return Decimal(precision, scale) if precision <= 38 else None


def merge(table: ColumnType, upload: ColumnType) -> ColumnType | None:
    """The type of a column whose files are written again that holds the numbers of both; None if there is none.

    Iceberg cannot widen an integer to a DOUBLE or a DECIMAL, or give a DECIMAL more digits behind the point. A whole
    number that no DOUBLE holds is an error while the files are written.
    """
    if table in _INTEGERS and upload in (DOUBLE, FLOAT):
        return DOUBLE
    if isinstance(upload, Decimal) and (mine := _as_decimal(table)) is not None:
        return _join_decimals(mine, upload)
    return None


def needs_rewrite(before: str, after: str) -> bool:
    """Whether a column gets a type, which holds all its values, only by writing its files again (`merge`)."""
    try:
        table, wanted = parse_type(before), to_stored(parse_type(after))
    except UnknownType:
        return False
    return merge(table, wanted) == wanted and widen(table, wanted) != wanted
