"""Rows of tables that traces were derived from, named by values of columns: whether the tables still have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from lakehouse.services.contracts.query_engine import Query, QueryEngine
from lakehouse.services.contracts.values import JsonValue
from lakehouse.services.pathwayd.traces import RowValues

MAX_ASKED = 10_000
"""Rows that one statement looks for, in one scan of the table; 20 MB of values at most."""


class TableRows:
    """Looks for rows with the query engine."""

    def __init__(self, engine: QueryEngine) -> None:
        self._engine = engine

    async def find_missing(self, table: str, rows: Sequence[RowValues]) -> list[RowValues]:
        """Those of some rows that a table lacks: no row has these values.

        The rows have the same columns, with values of the same types (`group_rows`). Raises ErrBadRequest for a table
        or a column that is not there, and what the query engine raises.
        """
        missing: list[RowValues] = []
        for begin in range(0, len(rows), MAX_ASKED):
            part = rows[begin : begin + MAX_ASKED]
            missing += [part[position] for position in await self._find_missing(table, part)]
        return missing

    async def _find_missing(self, table: str, rows: Sequence[RowValues]) -> Sequence[int]:
        """The positions of the rows that the table lacks, in their order."""
        columns = tuple(rows[0])
        values: list[JsonValue] = [[row[column] for row in rows] for column in columns]
        query = Query(sql=_make_sql(table, columns), params=[len(rows), *values], format="json")
        async with self._engine.run(query) as result:
            data = b"".join([piece async for piece in result])
        found = msgspec.json.decode(b"[" + data.removesuffix(b",") + b"]", type=list[tuple[int]])
        return sorted(position for (position,) in found)


def group_rows(rows: Iterable[RowValues]) -> Iterator[Sequence[RowValues]]:
    """The rows with the same columns and types of values, together.

    A list of several types would be compared as one of them: 2**53 + 1 beside 0.5 as 2.0**53.
    """
    groups: defaultdict[tuple[tuple[str, type], ...], list[RowValues]] = defaultdict(list)
    for row in rows:
        groups[tuple((column, type(value)) for column, value in row.items())].append(row)
    yield from groups.values()


def _make_sql(table: str, columns: Sequence[str]) -> str:
    """The statement that selects the positions of the rows for which it finds none, from a list for each column.

    The names of the columns are replaced: one of them could be that of a list.
    """
    wanted = "".join(f", unnest(?) AS w{number}" for number in range(len(columns)))
    present = ", ".join(f"{_quote(column)} AS p{number}" for number, column in enumerate(columns))
    same = " AND ".join(f"p{number} IS NOT DISTINCT FROM w{number}" for number in range(len(columns)))
    return (
        f"SELECT position FROM (SELECT unnest(range(?)) AS position{wanted}) AS wanted "  # noqa: S608 - quoted
        f"WHERE NOT EXISTS (SELECT 1 FROM (SELECT {present} FROM {_quote(table)}) AS present WHERE {same})"
    )


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
