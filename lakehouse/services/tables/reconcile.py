"""Whether columns fit into a table, and what has to change in the table for them.

Pure functions of stored types (`column_types.to_stored`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lakehouse.services.tables.column_types import (
    BIGINT,
    DOUBLE,
    FLOAT,
    INTEGER,
    NULL,
    VARCHAR,
    ColumnType,
    Decimal,
    List,
    Map,
    Primitive,
    Struct,
    format_type,
)
from lakehouse.services.tables.widening import merge, widen

NamedType = tuple[str, ColumnType]


@dataclass(frozen=True, slots=True)
class Difference:
    """A column that does not fit: its type in the table and in the upload, None where it is missing."""

    column: str
    was: str | None
    now: str | None

    def describe(self) -> str:
        """A clause for an error message."""
        if self.was is None:
            return f"{self.column} is new ({self.now})"
        if self.now is None:
            return f"{self.column} ({self.was}) is missing"
        return f"{self.column} was {self.was} and is {self.now}"


@dataclass(frozen=True, slots=True)
class SchemaChanges:
    """The changes of a table that a write needs. A path names a field below structs, list elements and map values.

    `retyped` columns get a type that Iceberg does not widen theirs to: each becomes a new field of the same name, which
    the table's files do not have.
    """

    added: tuple[tuple[tuple[str, ...], ColumnType], ...] = ()
    widened: tuple[tuple[tuple[str, ...], ColumnType], ...] = ()
    retyped: tuple[tuple[str, ColumnType], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.widened or self.retyped)


def fill_open_type(open_type: ColumnType, table: ColumnType | None) -> ColumnType:
    """Put the types of the table in the places of NULL, which no value of the upload decided."""
    match open_type, table:
        case Primitive(), _ if open_type == NULL and table is not None:
            return table
        case List(element), List(mine):
            return List(fill_open_type(element, mine))
        case Struct(fields), Struct(others):
            former = dict(others)
            return Struct(tuple((name, fill_open_type(field, former.get(name))) for name, field in fields))
    return open_type


def fits_unchanged(table: ColumnType, upload: ColumnType, *, is_text: bool, lossless: bool) -> bool:
    """Whether the values of an upload can be stored in a column of the table, which stays as it is.

    That is so if the types are equal; the order of fields does not matter. With `lossless` also if the table's type has
    a place for the values: then the writer checks every value. `is_text` says that the upload has the text of them.
    """
    if not lossless:
        return _match_types(table, upload, lambda mine, other: mine == other)
    return _match_types(table, upload, _can_hold) or (is_text and _can_hold_text(table, upload))


def _match_types(table: ColumnType, upload: ColumnType, compare: Callable[[ColumnType, ColumnType], bool]) -> bool:
    match table, upload:
        case Struct(fields), Struct(others):
            given = dict(others)
            same = len(fields) == len(others) and all(name in given for name, _ in fields)
            return same and all(_match_types(field, given[name], compare) for name, field in fields)
        case List(mine), List(other):
            return _match_types(mine, other, compare)
        case Map(key, mine), Map(other_key, other):
            return key == other_key and _match_types(mine, other, compare)
    return compare(table, upload)


def _can_hold(table: ColumnType, upload: ColumnType) -> bool:
    if table == upload:
        return True
    whole = upload in (INTEGER, BIGINT)
    if isinstance(table, Decimal):
        return whole or isinstance(upload, Decimal)
    return (whole and table in (INTEGER, BIGINT, FLOAT, DOUBLE)) or (upload == FLOAT and table == DOUBLE)


def _can_hold_text(table: ColumnType, upload: ColumnType) -> bool:
    """In a file of text, DOUBLE and DECIMAL are two readings of the same digits; a text column takes every text."""
    if table == VARCHAR:
        return isinstance(upload, Primitive | Decimal)
    return (upload == DOUBLE and isinstance(table, Decimal)) or (table == DOUBLE and isinstance(upload, Decimal))


def find_differences(table: Sequence[NamedType], upload: Sequence[NamedType]) -> list[Difference]:
    """The columns that are not equal, by name; their order does not matter."""
    mine, other = dict(table), dict(upload)
    differences = [
        Difference(name, format_type(column), format_type(other[name]) if name in other else None)
        for name, column in table
        if other.get(name) != column
    ]
    return differences + [Difference(name, None, format_type(column)) for name, column in upload if name not in mine]


def plan_changes(
    table: Sequence[NamedType],
    upload: Sequence[NamedType],
    required: frozenset[str] = frozenset(),
    *,
    replace: bool = False,
) -> tuple[SchemaChanges, list[Difference]]:
    """The changes that make the upload fit, and the differences that no change reconciles.

    A column that the upload lacks becomes NULL, which a `required` one cannot. If the upload takes the place of all
    rows (`replace`), a column may have any type.
    """
    mine, folded = dict(table), {name.lower() for name, _ in table}
    given = {name for name, _ in upload}
    added: list[tuple[tuple[str, ...], ColumnType]] = []
    widened: list[tuple[tuple[str, ...], ColumnType]] = []
    retyped: list[tuple[str, ColumnType]] = []
    differences = [
        Difference(name, format_type(column), None) for name, column in table if name not in given and name in required
    ]
    for name, column in upload:
        if name not in mine:
            if name.lower() in folded:  # SQL could not distinguish the two
                differences.append(Difference(name, None, format_type(column)))
            added.append(((name,), column))
            continue
        merged = widen(mine[name], column)
        if merged is not None:
            _collect(mine[name], merged, (name,), added, widened)
        elif (other := column if replace else merge(mine[name], column)) is not None and name not in required:
            retyped.append((name, other))
        else:
            differences.append(Difference(name, format_type(mine[name]), format_type(column)))
    return SchemaChanges(tuple(added), tuple(widened), tuple(retyped)), differences


def _collect(
    before: ColumnType,
    after: ColumnType,
    path: tuple[str, ...],
    added: list[tuple[tuple[str, ...], ColumnType]],
    widened: list[tuple[tuple[str, ...], ColumnType]],
) -> None:
    """Collect the changes between a type and the wider one."""
    if before == after:
        return
    match before, after:
        case Struct(fields), Struct(merged):
            former = dict(fields)
            for name, column in merged:
                if name in former:
                    _collect(former[name], column, (*path, name), added, widened)
                else:
                    added.append(((*path, name), column))
        case List(mine), List(other):
            _collect(mine, other, (*path, "element"), added, widened)
        case Map(_, mine), Map(_, other):
            _collect(mine, other, (*path, "value"), added, widened)
        case _:
            widened.append((path, after))
