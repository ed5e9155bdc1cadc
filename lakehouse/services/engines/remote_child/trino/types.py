"""Trino's types: how a value of its JSON becomes one of Arrow, and which type of DuckDB that is cast to.

Numbers, strings and containers go to Arrow as they are. Dates, times, decimals and the like are strings in Trino's
JSON, and DuckDB reads them: a type that it has not with all its digits stays a string.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from lakehouse.services.engines.database import quote_name

MAX_DIGITS = 6
"""Digits of a second that DuckDB has in times and in timestamps with a time zone."""
MAX_TIMESTAMP_DIGITS = 9
Convert = Callable[[object], object]


class Signature(msgspec.Struct, frozen=True, rename="camel"):
    """A type as Trino's protocol describes it."""

    raw_type: str
    arguments: tuple[Argument, ...] = ()


class Argument(msgspec.Struct, frozen=True):
    """A parameter of a type: a number, a type, or a named type."""

    kind: str
    value: object = None


class _FieldName(msgspec.Struct, frozen=True):
    name: str


class _Field(msgspec.Struct, frozen=True, rename="camel"):
    type_signature: Signature
    field_name: _FieldName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A type: `arrow` is that of the values that `convert` makes, `sql` the one of DuckDB.

    `convert` is None for values that stay as they are. With `cast`, DuckDB has to cast them.
    """

    arrow: pa.DataType
    sql: str
    cast: bool = False
    convert: Convert | None = None

    def apply(self, value: object) -> object:
        """Convert a value; None stays None."""
        return value if value is None or self.convert is None else self.convert(value)


def make_kind(signature: Signature) -> Kind:
    """The type for a signature. A type that is not known here is text."""
    name = signature.raw_type
    if (plain := _PLAIN.get(name)) is not None:
        return plain
    if (make := _MAKERS.get(name)) is not None:
        return make(signature.arguments)
    return Kind(arrow=pa.string(), sql="VARCHAR", convert=_text)


def _text(value: object) -> object:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _float(value: object) -> object:
    """A number, or one of the strings "NaN", "Infinity" and "-Infinity"."""
    return float(value) if isinstance(value, str | int) else value


def _bytes(value: object) -> object:
    return b64decode(str(value))


_YEARS = re.compile(r"(-?)(\d+)-(\d+)")
_DAYS = re.compile(r"(-?)(\d+) (\d+:\d+:\d+(?:\.\d+)?)")


def _interval_of_years(value: object) -> object:
    """``-1-2`` is minus one year and two months."""
    found = _YEARS.fullmatch(str(value))
    return value if found is None else f"{found[1]}{found[2]} years {found[1]}{found[3]} months"


def _interval_of_days(value: object) -> object:
    """``2 03:04:05.678`` is two days and some hours."""
    found = _DAYS.fullmatch(str(value))
    return value if found is None else f"{found[1]}{found[2]} days {found[1]}{found[3]}"


def _strip_sign(value: object) -> object:
    """``+10000-01-01`` without its sign, which Trino writes before years beyond 9999."""
    return str(value).removeprefix("+")


_PLAIN: Mapping[str, Kind] = {
    "boolean": Kind(arrow=pa.bool_(), sql="BOOLEAN"),
    "tinyint": Kind(arrow=pa.int8(), sql="TINYINT"),
    "smallint": Kind(arrow=pa.int16(), sql="SMALLINT"),
    "integer": Kind(arrow=pa.int32(), sql="INTEGER"),
    "bigint": Kind(arrow=pa.int64(), sql="BIGINT"),
    "real": Kind(arrow=pa.float32(), sql="FLOAT", convert=_float),
    "double": Kind(arrow=pa.float64(), sql="DOUBLE", convert=_float),
    "varchar": Kind(arrow=pa.string(), sql="VARCHAR"),
    "char": Kind(arrow=pa.string(), sql="VARCHAR"),
    "varbinary": Kind(arrow=pa.binary(), sql="BLOB", convert=_bytes),
    "date": Kind(arrow=pa.string(), sql="DATE", cast=True, convert=_strip_sign),
    "uuid": Kind(arrow=pa.string(), sql="UUID", cast=True),
    "json": Kind(arrow=pa.string(), sql="JSON", cast=True),
    "interval year to month": Kind(arrow=pa.string(), sql="INTERVAL", cast=True, convert=_interval_of_years),
    "interval day to second": Kind(arrow=pa.string(), sql="INTERVAL", cast=True, convert=_interval_of_days),
    "unknown": Kind(arrow=pa.null(), sql='"NULL"'),
}


def _digits(arguments: Sequence[Argument], default: int = 3) -> int:
    value = arguments[0].value if arguments else default
    return value if isinstance(value, int) else default


def _join_offset(value: object) -> object:
    """``12:00:00 +02:00`` without the space before the offset; the name of a zone stays as it is."""
    text = _strip_sign(value)
    time, _, zone = str(text).rpartition(" ")
    return f"{time}{zone}" if zone[:1] in ("+", "-") else text


def _time_kind(
    sql: str, limit: int, finer: str = "", finest: int = 0, convert: Convert | None = None
) -> Callable[[Sequence[Argument]], Kind]:
    """A type of times: `sql` up to `limit` digits of a second, `finer` up to `finest`, then text."""

    def make(arguments: Sequence[Argument]) -> Kind:
        digits = _digits(arguments)
        if digits > max(limit, finest):
            return Kind(arrow=pa.string(), sql="VARCHAR")
        return Kind(arrow=pa.string(), sql=sql if digits <= limit else finer, cast=True, convert=convert)

    return make


def _decimal(arguments: Sequence[Argument]) -> Kind:
    precision, scale = (argument.value for argument in arguments)
    return Kind(arrow=pa.string(), sql=f"DECIMAL({precision},{scale})", cast=True)


def _inner(argument: Argument) -> Kind:
    return make_kind(msgspec.convert(argument.value, Signature))


def _array(arguments: Sequence[Argument]) -> Kind:
    item = _inner(arguments[0])

    def convert(value: object) -> object:
        return [item.apply(each) for each in value] if isinstance(value, list) else None

    return Kind(
        arrow=pa.list_(item.arrow), sql=f"{item.sql}[]", cast=item.cast, convert=convert if item.convert else None
    )


def _map(arguments: Sequence[Argument]) -> Kind:
    """An object in JSON, whose keys are text whatever their type is."""
    key, value = map(_inner, arguments)
    read_key = _KEYS.get(key.sql, str)

    def convert(entries: object) -> object:
        if not isinstance(entries, dict):
            return None
        return [(read_key(name), value.apply(each)) for name, each in entries.items()]

    arrow_key, cast = (key.arrow, key.cast) if key.sql in _KEYS or key.arrow == pa.string() else (pa.string(), False)
    sql_key = key.sql if key.sql in _KEYS or key.arrow == pa.string() else "VARCHAR"
    return Kind(
        arrow=pa.map_(arrow_key, value.arrow),
        sql=f"MAP({sql_key}, {value.sql})",
        cast=cast or value.cast,
        convert=convert,
    )


_KEYS: Mapping[str, Callable[[str], object]] = {
    "BOOLEAN": lambda text: text == "true",
    "TINYINT": int,
    "SMALLINT": int,
    "INTEGER": int,
    "BIGINT": int,
    "FLOAT": float,
    "DOUBLE": float,
}
"""How the text of a key is read."""


def _row(arguments: Sequence[Argument]) -> Kind:
    """An array in JSON. A field without a name is called after its place."""
    fields = [msgspec.convert(argument.value, _Field) for argument in arguments]
    names: list[str] = []
    for index, field in enumerate(fields):
        name = f"field{index}" if field.field_name is None else field.field_name.name
        names.append(name if name.lower() not in {other.lower() for other in names} else f"{name}_{index}")
    kinds = [make_kind(field.type_signature) for field in fields]

    def convert(values: object) -> object:
        if not isinstance(values, list):
            return None
        return {name: kind.apply(value) for name, kind, value in zip(names, kinds, values, strict=True)}

    members = ", ".join(f"{quote_name(name)} {kind.sql}" for name, kind in zip(names, kinds, strict=True))
    return Kind(
        arrow=pa.struct([(name, kind.arrow) for name, kind in zip(names, kinds, strict=True)]),
        sql=f"STRUCT({members})",
        cast=any(kind.cast for kind in kinds),
        convert=convert,
    )


_MAKERS: Mapping[str, Callable[[Sequence[Argument]], Kind]] = {
    "decimal": _decimal,
    "time": _time_kind("TIME", MAX_DIGITS),
    "time with time zone": _time_kind("TIME WITH TIME ZONE", MAX_DIGITS),
    "timestamp": _time_kind("TIMESTAMP", MAX_DIGITS, "TIMESTAMP_NS", MAX_TIMESTAMP_DIGITS, convert=_strip_sign),
    "timestamp with time zone": _time_kind("TIMESTAMP WITH TIME ZONE", MAX_DIGITS, convert=_join_offset),
    "array": _array,
    "map": _map,
    "row": _row,
}
