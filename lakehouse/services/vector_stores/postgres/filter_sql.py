"""Filters as conditions of SQL over the column `fields`, with the meaning of `contracts.filter_language`.

No condition is ever NULL, so NOT is its opposite. Texts have no NUL in PostgreSQL: it is escaped, in the fields and in
the filters alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from lakehouse.services.contracts.filter_language import Condition, Filter, decode_metadata

ESCAPE = "\ue000"
"""A character for private use: before "0" it stands for NUL, before "1" for itself."""
MAX_CONTAINED = 16
"""Values of a declared field that are looked up in its index, each on its own."""
_OPERATORS = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}


class Sql(NamedTuple):
    """A condition and its values."""

    text: str
    values: tuple[object, ...] = ()


def make_fields(metadata: bytes) -> bytes:
    """The metadata of an item as the column `fields` has them."""
    if not metadata:
        return b"{}"
    return msgspec.json.encode(_escape(decode_metadata(metadata)))


def make_condition(filters: Iterable[Filter], indexed: Collection[str] = ()) -> Sql:
    """The condition of all filters. `indexed` are the declared fields, which have an index."""
    return _join([_convert(one, indexed) for one in filters], " AND ", "TRUE")


def _convert(wanted: Filter, indexed: Collection[str]) -> Sql:
    parts = [
        _make_part(part, indexed) if isinstance(part, Condition) else _convert(part, indexed) for part in wanted.parts
    ]
    joined = _join(parts, " OR ", "FALSE") if wanted.any_of else _join(parts, " AND ", "TRUE")
    return Sql(f"NOT {joined.text}", joined.values) if wanted.negated else joined


def _join(parts: list[Sql], operator: str, empty: str) -> Sql:
    if not parts:
        return Sql(empty)
    return Sql(
        f"({operator.join(part.text for part in parts)})", tuple(value for part in parts for value in part.values)
    )


def _make_part(condition: Condition, indexed: Collection[str]) -> Sql:
    """A condition on one field: all that it has must hold."""
    name = _escape_text(condition.field)
    parts = []
    if condition.exists is not None:
        known = "coalesce(jsonb_typeof(fields -> %s) <> 'null', FALSE)"
        parts.append(Sql(known if condition.exists else f"NOT {known}", (name,)))
    if condition.among is not None:
        parts.append(_make_among(name, condition.among, contained=condition.field in indexed))
    if condition.not_among is not None:
        among = _make_among(name, condition.not_among, contained=False)
        parts.append(Sql(f"NOT {among.text}", among.values))
    if condition.ranges:
        parts.append(_make_ranges(name, condition.ranges))
    return _join(parts, " AND ", "TRUE")


def _make_among(name: str, keys: frozenset[object], *, contained: bool) -> Sql:
    """Whether the value, or one of its elements, is one of these."""
    values = [_escape(key[0] if isinstance(key, tuple) else key) for key in keys]
    if contained and 0 < len(values) <= MAX_CONTAINED:
        forms = [msgspec.json.encode({name: form}).decode() for value in values for form in (value, [value])]
        return Sql(f"({' OR '.join(['fields @> %s::jsonb'] * len(forms))})", tuple(forms))
    encoded = [msgspec.json.encode(value).decode() for value in values]
    return Sql("coalesce((fields -> %s) @> ANY(%s::jsonb[]), FALSE)", (name, encoded))


def _make_ranges(name: str, ranges: tuple[tuple[str, str | int | float], ...]) -> Sql:
    """Whether the value, or one of its elements, is in all ranges, which are of one kind."""
    kinds = {"string" if isinstance(bound, str) else "number" for _, bound in ranges}
    if len(kinds) > 1:
        return Sql("FALSE")
    tests = [f"@ {_OPERATORS[operator]} $b{at}" for at, (operator, _) in enumerate(ranges)]
    field = msgspec.json.encode(name).decode()
    test = f'(@.type() == "{kinds.pop()}" && {" && ".join(tests)})'
    bounds = msgspec.json.encode({f"b{at}": _escape(bound) for at, (_, bound) in enumerate(ranges)}).decode()
    # strict, since a lax path takes an array inside of an array for its elements; silent, for what is no array
    found = "coalesce(jsonb_path_exists(fields, %s::jsonpath, %s::jsonb, TRUE), FALSE)"
    paths = f"strict $.{field} ? {test}", f"strict $.{field}[*] ? {test}"
    return Sql(f"({found} OR {found})", (paths[0], bounds, paths[1], bounds))


def _escape(value: object) -> object:
    if isinstance(value, str):
        return _escape_text(value)
    if isinstance(value, list):
        return [_escape(one) for one in value]
    if isinstance(value, dict):
        return {_escape_text(name): _escape(one) for name, one in value.items()}
    return value


def _escape_text(text: str) -> str:
    if "\0" not in text and ESCAPE not in text:
        return text
    return text.replace(ESCAPE, f"{ESCAPE}1").replace("\0", f"{ESCAPE}0")
