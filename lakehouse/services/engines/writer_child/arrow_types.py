"""The types of Arrow in a table: which of DuckDB's types holds every value, and what is said about it.

A table has no unsigned integers, no decimals beyond 38 digits, no enumerations, no times of day, no intervals, and no
nanoseconds. Each of these becomes the next type that holds every value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.types as kinds

from lakehouse.services.engines.database import quote_name

MAX_DIGITS = 38

_SIMPLE: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
    (kinds.is_boolean, "BOOLEAN"),
    (lambda t: kinds.is_int8(t) or kinds.is_int16(t) or kinds.is_int32(t), "INTEGER"),
    (kinds.is_int64, "BIGINT"),
    (kinds.is_float32, "FLOAT"),
    (kinds.is_float64, "DOUBLE"),
    (lambda t: kinds.is_string(t) or kinds.is_large_string(t), "VARCHAR"),
    (lambda t: kinds.is_binary(t) or kinds.is_large_binary(t) or kinds.is_fixed_size_binary(t), "BLOB"),
    (kinds.is_date32, "DATE"),
)


class UnsupportedType(ValueError):
    """A type none of whose values a table can hold. The message is for the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a type becomes.

    `sql` is DuckDB's name of the type in the table. `arrow` is the type in which pyarrow has to hand the values over;
    it differs from the original (`changed`) where the table has another type. `direct` says that DuckDB, which reads
    Parquet by itself, gives the same values. `notes` are for the warning.
    """

    sql: str
    arrow: pa.DataType
    changed: bool = False
    direct: bool = True
    notes: tuple[str, ...] = ()


def find_target(type_: pa.DataType, *, fine: bool = False) -> Target:
    """What a type becomes; `fine` says that the column has values with single nanoseconds, which are kept as text."""
    for matches, sql in _SIMPLE:
        if matches(type_):
            return Target(sql=sql, arrow=type_)
    for find in (_find_wrapped, _find_number, _find_temporal, _find_nested):
        target = find(type_, fine)
        if target is not None:
            return target
    raise UnsupportedType(f"the type {type_} has no counterpart in a table")


def has_nanoseconds(type_: pa.DataType) -> bool:
    """Whether a type, or a type in it, counts nanoseconds."""
    if kinds.is_timestamp(type_) or kinds.is_time64(type_):
        return bool(type_.unit == "ns")
    return any(has_nanoseconds(child) for child in _children(type_))


def _children(type_: pa.DataType) -> list[pa.DataType]:
    if isinstance(type_, pa.BaseExtensionType):
        return [type_.storage_type]
    if kinds.is_dictionary(type_) or kinds.is_run_end_encoded(type_):
        return [type_.value_type]
    if kinds.is_map(type_):
        return [type_.key_type, type_.item_type]
    if kinds.is_struct(type_):
        return [type_.field(number).type for number in range(type_.num_fields)]
    return [type_.value_type] if _is_list(type_) else []


def _is_list(type_: pa.DataType) -> bool:
    return bool(
        kinds.is_list(type_)
        or kinds.is_large_list(type_)
        or kinds.is_fixed_size_list(type_)
        or kinds.is_list_view(type_)
        or kinds.is_large_list_view(type_)
    )


def _changed(target: Target, *notes: str) -> Target:
    return replace(target, changed=True, notes=(*notes, *target.notes))


def _text(*notes: str, direct: bool = False) -> Target:
    return Target(sql="VARCHAR", arrow=pa.string(), changed=True, direct=direct, notes=notes)


def _find_wrapped(type_: pa.DataType, fine: bool) -> Target | None:
    """Types that are another type in another form."""
    if isinstance(type_, pa.BaseExtensionType):
        if type_.extension_name == "arrow.uuid":
            return Target(sql="UUID", arrow=type_)
        note = (
            () if type_.extension_name == "arrow.json" else (f"{type_.extension_name} is stored as its storage type",)
        )
        return _changed(find_target(type_.storage_type, fine=fine), *note)
    if kinds.is_dictionary(type_):
        return _changed(find_target(type_.value_type, fine=fine), "an enumeration is stored as its values")
    if kinds.is_run_end_encoded(type_):
        return _changed(find_target(type_.value_type, fine=fine))
    if kinds.is_string_view(type_):
        return _text(direct=True)
    if kinds.is_binary_view(type_):
        return Target(sql="BLOB", arrow=pa.binary(), changed=True)
    if kinds.is_null(type_):
        return _text("a column without a type is stored as text", direct=True)
    return None


def _find_number(type_: pa.DataType, _fine: bool) -> Target | None:
    if kinds.is_unsigned_integer(type_):
        sql = {8: "INTEGER", 16: "INTEGER", 32: "BIGINT", 64: "DECIMAL(20,0)"}[type_.bit_width]
        return Target(sql=sql, arrow=type_, notes=(f"unsigned integers of {type_.bit_width} bits are stored as {sql}",))
    if kinds.is_float16(type_):
        return Target(sql="FLOAT", arrow=pa.float32(), changed=True, notes=("numbers of 16 bits are stored as FLOAT",))
    if kinds.is_decimal(type_):
        if type_.precision <= MAX_DIGITS and 0 <= type_.scale <= type_.precision:
            arrow = pa.decimal128(type_.precision, type_.scale)
            return Target(sql=f"DECIMAL({type_.precision},{type_.scale})", arrow=arrow, changed=arrow != type_)
        return _text(f"decimals of {type_.precision} digits with {type_.scale} places are stored as text")
    return None


def _find_temporal(type_: pa.DataType, fine: bool) -> Target | None:
    if kinds.is_timestamp(type_):
        if type_.unit == "ns" and fine:
            return _text("nanoseconds are kept, as text")
        unit = "us" if type_.unit == "ns" else type_.unit
        arrow = pa.timestamp(unit, type_.tz)
        return Target(
            sql=f"TIMESTAMP{'' if type_.tz is None else ' WITH TIME ZONE'}", arrow=arrow, changed=arrow != type_
        )
    if kinds.is_time(type_):
        if type_.unit == "ns" and fine:
            return _text("times of day are stored as text")
        arrow = pa.time64("us") if type_.unit == "ns" else type_
        return Target(sql="VARCHAR", arrow=arrow, changed=arrow != type_, notes=("times of day are stored as text",))
    if kinds.is_date64(type_):
        return Target(sql="DATE", arrow=pa.date32(), changed=True)
    if kinds.is_duration(type_):
        unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[type_.unit]
        note = f"durations are stored as whole numbers of {unit}"
        return Target(sql="BIGINT", arrow=pa.int64(), changed=True, notes=(note,))
    return _text("intervals are stored as text") if kinds.is_interval(type_) else None


def _find_nested(type_: pa.DataType, fine: bool) -> Target | None:
    if kinds.is_map(type_):
        key, item = find_target(type_.key_type, fine=fine), find_target(type_.item_type, fine=fine)
        return _combine(f"MAP({key.sql}, {item.sql})", pa.map_(key.arrow, item.arrow), (key, item), type_)
    if _is_list(type_):
        element = find_target(type_.value_type, fine=fine)
        return _combine(f"{element.sql}[]", pa.list_(element.arrow), (element,), type_)
    if kinds.is_struct(type_):
        return _find_struct(type_, fine)
    return None


def _find_struct(type_: pa.StructType, fine: bool) -> Target:
    fields = [type_.field(number) for number in range(type_.num_fields)]
    names = [field.name for field in fields]
    if not names:
        raise UnsupportedType("a struct without fields has no counterpart in a table")
    if "" in names or len({name.casefold() for name in names}) < len(names):
        raise UnsupportedType("a struct has fields whose names are empty or differ in case only")
    targets = tuple(find_target(field.type, fine=fine) for field in fields)
    sql = ", ".join(f"{quote_name(name)} {target.sql}" for name, target in zip(names, targets, strict=True))
    arrow = pa.struct([pa.field(name, target.arrow) for name, target in zip(names, targets, strict=True)])
    return _combine(f"STRUCT({sql})", arrow, targets, type_)


def _combine(sql: str, arrow: pa.DataType, parts: tuple[Target, ...], original: pa.DataType) -> Target:
    changed = any(part.changed for part in parts) or kinds.is_list_view(original) or kinds.is_large_list_view(original)
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    direct = all(part.direct for part in parts)
    return Target(sql=sql, arrow=arrow if changed else original, changed=changed, direct=direct, notes=notes)
