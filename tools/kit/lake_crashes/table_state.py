"""The ledger of a client's tables: what each holds, and earlier snapshots of them. All values are immutable."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

Row = tuple[str | None, ...]
"""The values behind the `id` of a row."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the names of its columns, and its rows by their `id`."""

    columns: tuple[str, ...]
    rows: Mapping[int, Row]

    def put(self, rows: Mapping[int, Row]) -> Table:
        """With rows added, or in the place of those that have the same id."""
        return Table(self.columns, {**self.rows, **rows})

    def keep(self, wanted: Callable[[int], bool]) -> Table:
        """With the rows whose ids are wanted."""
        return Table(self.columns, {key: row for key, row in self.rows.items() if wanted(key)})

    def add_column(self, name: str) -> Table:
        """With a column more, which is NULL."""
        return Table((*self.columns, name), {key: (*row, None) for key, row in self.rows.items()})

    def rename_column(self, name: str, to: str) -> Table:
        """With another name of a column."""
        return Table(tuple(to if each == name else each for each in self.columns), self.rows)

    def drop_column(self, name: str) -> Table:
        """Without a column other than `id`."""
        place = self.columns.index(name)
        rows = {key: row[: place - 1] + row[place:] for key, row in self.rows.items()}
        return Table(self.columns[:place] + self.columns[place + 1 :], rows)

    def to_csv(self) -> bytes:
        """The file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows((key, *row) for key, row in self.rows.items())
        return text.getvalue().encode()

    def __str__(self) -> str:
        return f"{len(self.rows)} rows of {','.join(self.columns)} (sum of ids {sum(self.rows)})"


Tables = Mapping[str, Table]
"""The tables of a client by their names."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot that was acknowledged, of the table that had this name at that time.

    `sent` is when its request was sent first (in seconds): a commit whose answer a kill has cut is as old as that.
    """

    name: str
    snapshot_id: str
    table: Table
    sent: float


def describe_difference(found: Tables, expected: Tables) -> str:
    """How two states differ."""
    lines: list[str] = []
    for name in sorted({*found, *expected}):
        one, other = found.get(name), expected.get(name)
        if one != other:
            lines.append(f"{name}: {one or 'missing'} instead of {other or 'missing'}{_compare(one, other)}")
    return "; ".join(lines) or "equal"


def _compare(one: Table | None, other: Table | None) -> str:
    if one is None or other is None:
        return ""
    changed = sum(1 for key, row in one.rows.items() if key in other.rows and other.rows[key] != row)
    more, fewer = len(one.rows.keys() - other.rows.keys()), len(other.rows.keys() - one.rows.keys())
    return f" ({more} rows more, {fewer} fewer, {changed} others)"


def make_table(columns: tuple[str, ...], rows: Iterable[list[object]]) -> Table | None:
    """The table of a query's result; None if two rows have the same id."""
    found: dict[int, Row] = {}
    count = 0
    place = columns.index("id")
    for row in rows:
        count += 1
        values = [None if value is None else str(value) for value in row]
        found[int(str(row[place]))] = tuple(values[:place] + values[place + 1 :])
    return Table(columns, found) if len(found) == count else None
