"""Types of Spark that Arrow cannot hand over, and what to write instead."""

from __future__ import annotations

from pyspark.sql.connect.proto import types_pb2

_ADVICE = {
    "year_month_interval": ("INTERVAL YEAR TO MONTH", "CAST({name} AS STRING)"),
    "calendar_interval": ("INTERVAL", "CAST({name} AS STRING)"),
    "variant": ("VARIANT", "to_json({name})"),
    "udt": ("a type of a program", "CAST({name} AS STRING)"),
}


class UnsupportedType(ValueError):
    """A column has such a type."""


def check_types(row: types_pb2.DataType) -> None:
    """Check the columns of a result, also within arrays, maps and structs. Raises UnsupportedType."""
    for field in row.struct.fields:
        if (kind := _find(field.data_type)) is not None:
            what, advice = _ADVICE[kind]
            raise UnsupportedType(
                f"the column `{field.name}` has the type {what}, which no form of an answer has: "
                f"select {advice.format(name=field.name)}"
            )


def _find(kind: types_pb2.DataType) -> str | None:
    name = kind.WhichOneof("kind")
    if name in _ADVICE:
        return str(name)
    if name == "array":
        return _find(kind.array.element_type)
    if name == "map":
        return _find(kind.map.key_type) or _find(kind.map.value_type)
    if name == "struct":
        return next((found for field in kind.struct.fields if (found := _find(field.data_type))), None)
    return None
