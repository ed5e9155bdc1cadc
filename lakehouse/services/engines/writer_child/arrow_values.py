"""Values of Arrow columns in the types that `arrow_types` has found for them. Nothing is rounded or wrapped."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from lakehouse.services.engines.writer_child.arrow_types import Target, has_nanoseconds
from lakehouse.services.engines.writer_child.call_errors import too_large, unprocessable
from lakehouse.services.engines.writer_child.source import MAX_VALUE


def has_single_nanoseconds(array: pa.Array) -> bool:
    """Whether an array, at any depth, has a time whose nanoseconds are not whole microseconds."""
    if not has_nanoseconds(array.type):
        return False
    if kinds.is_timestamp(array.type) or kinds.is_time64(array.type):
        coarse = pa.timestamp("us", array.type.tz) if kinds.is_timestamp(array.type) else pa.time64("us")
        exact = pc.cast(pc.cast(array, coarse, safe=False), array.type)
        return bool(pc.any(pc.not_equal(array, exact)).as_py())
    return any(has_single_nanoseconds(child) for child in _children(array))


def _children(array: pa.Array) -> Iterator[pa.Array]:
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        yield array.storage
    elif kinds.is_dictionary(type_):
        yield array.dictionary
    elif kinds.is_run_end_encoded(type_):
        yield array.values
    elif kinds.is_map(type_):
        yield from (array.keys, array.items)
    elif kinds.is_struct(type_):
        yield from array.flatten()
    else:
        yield array.flatten()


def convert(array: pa.Array, target: Target, name: str) -> pa.Array:
    """The values of an array in the type of its target. Raises `CallError` (422), naming the column."""
    if not target.changed:
        return array
    try:
        return _convert(array, target.arrow)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OverflowError) as error:
        raise unprocessable(
            f"the column {name!r} of the type {array.type} cannot be stored as {target.sql}: {error}", column=name
        ) from None


def _convert(array: pa.Array, arrow: pa.DataType) -> pa.Array:
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return _convert(array.storage, arrow)
    if kinds.is_dictionary(type_):
        return _convert(array.dictionary_decode(), arrow)
    if kinds.is_run_end_encoded(type_):
        return _convert(pc.run_end_decode(array), arrow)
    if kinds.is_list_view(type_) or kinds.is_large_list_view(type_):
        return pa.array(array.to_pylist(), arrow)
    if kinds.is_interval(type_):
        return pa.array([None if value is None else write_interval(value) for value in array.to_pylist()], pa.string())
    if kinds.is_string(arrow) and kinds.is_timestamp(type_):
        return _write_timestamps(array)
    if kinds.is_string(arrow) and kinds.is_time(type_):
        return _trim(pc.cast(array, pa.string()))
    return array if type_ == arrow else pc.cast(array, arrow)


def _write_timestamps(array: pa.Array) -> pa.Array:
    """The text that DuckDB gives: no zeros at the end of the fraction, and the offset of UTC for a time with a zone."""
    text = _trim(pc.cast(pc.cast(array, pa.timestamp("ns")), pa.string()))
    return text if array.type.tz is None else pc.binary_join_element_wise(text, "+00", "")


def _trim(text: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(text, r"\.?0*$", "") if not _has_no_fraction(text) else text


def _has_no_fraction(text: pa.Array) -> bool:
    return not pc.any(pc.match_substring(text, ".")).as_py()


def write_interval(value: pa.MonthDayNano) -> str:
    """An interval in DuckDB's notation: `1 year 2 months 3 days 04:05:06.000000007`."""
    months, days, nanoseconds = value
    parts = []
    for number, unit in ((int(months / 12), "year"), (int(months - 12 * int(months / 12)), "month"), (days, "day")):
        if number:
            parts.append(f"{number} {unit}{'' if abs(number) == 1 else 's'}")
    if nanoseconds or not parts:
        seconds, fraction = divmod(abs(nanoseconds), 10**9)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        tail = f".{fraction:09}".rstrip("0") if fraction else ""
        parts.append(("-" if nanoseconds < 0 else "") + clock + tail)
    return " ".join(parts)


def check_sizes(array: pa.Array, name: str) -> None:
    """Refuse a string or a blob that is over the limit of one value."""
    if kinds.is_string(array.type) or kinds.is_large_string(array.type) or kinds.is_binary(array.type):
        longest = pc.max(pc.binary_length(array)).as_py()
        if longest is not None and longest > MAX_VALUE:
            raise value_too_large(name, longest)


def value_too_large(name: str, size: int) -> Exception:
    """The refusal of one value."""
    return too_large(f"the column {name!r} has a value of {size} bytes: the limit is 16 MiB", column=name)
