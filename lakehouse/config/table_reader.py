"""Reads tables of a TOML document into dataclasses, and collects what is wrong with them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from functools import cache
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from lakehouse.config import values


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Table = TypeVar("Table", bound=_Dataclass)

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read_table(table: type[Table], document: object, path: str, problems: list[str]) -> Table:
    """Read one table.

    Invalid values are added to `problems` and replaced by their defaults, so that all are checked.
    """
    if not isinstance(document, dict):
        problems.append(f"{path} must be a table (got {values.name_kind(document)})")
        return table()
    hints = _get_hints(table)
    known = {field.name: field for field in fields(table)}
    read: dict[str, object] = {}
    for name, value in document.items():
        key = f"{path}.{name}" if path else name
        if name not in known:
            problems.append(f"{key} is not a known key{_suggest(name, known)}")
            continue
        try:
            read[name] = _read_value(known[name], hints[name], value, key, problems)
        except values.InvalidEntries as error:
            problems += [f"{key}.{entry} {problem}" for entry, problem in error.problems.items()]
            read[name] = error.valid
        except ValueError as error:
            problems.append(f"{key} {error}")
    return table(**read)


@cache
def _get_hints(table: type) -> Mapping[str, Any]:
    """The types of a table's fields. Resolving them takes most of the time of reading a small table."""
    return get_type_hints(table)


def _read_tables(table: type[Table], document: object, key: str, problems: list[str]) -> dict[str, Table]:
    if not isinstance(document, dict):
        raise ValueError(f"must be a table (got {values.name_kind(document)})")
    return {name: read_table(table, entry, join_key(key, name), problems) for name, entry in document.items()}


def join_key(path: str, name: str) -> str:
    """The full name of a key whose last part is the user's, as TOML writes it."""
    return f"{path}.{name if _BARE_KEY.fullmatch(name) else msgspec.json.encode(name).decode()}"


def _read_value(field: Field[Any], hint: type, value: object, key: str, problems: list[str]) -> object:
    if is_dataclass(hint):
        return read_table(hint, value, key, problems)
    if table := field.metadata.get("tables"):
        return _read_tables(table, value, key, problems)
    if reader := field.metadata.get("reader"):
        return reader(value)
    if isinstance(hint, type) and issubclass(hint, str | bool | int):
        if type(value) is not hint:
            raise ValueError(f"must be {_NAMES[hint]} (got {values.quoted(value)})")
        return value
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise ValueError(f"must be one of {', '.join(map(values.quoted, get_args(hint)))} (got {values.quoted(value)})")
    try:
        converted = msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise ValueError(f"does not fit: {error} (got {values.quoted(value)})") from None
    return converted


_NAMES = {str: "a string", bool: "true or false", int: "a whole number"}


def _suggest(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
