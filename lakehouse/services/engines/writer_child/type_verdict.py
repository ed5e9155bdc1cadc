"""The verdict over all rows: one aggregate over a read of all columns as text, repeated for the columns that fail.

A column that fails its candidate is tested for the next one, so that at most two types are tested on most columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lakehouse.services.engines.database import quote
from lakehouse.services.engines.writer_child.type_candidates import WORDS, Candidate, find_candidates
from lakehouse.services.engines.writer_child.type_samples import ColumnSample

if TYPE_CHECKING:
    import duckdb

ROW = '"#row"'
"""The column with the number of a row, from 0."""
MAX_COLUMNS_AT_ONCE = 400
"""The columns of one aggregate. FILTER would copy all columns for each of them; `count_if` does not."""


@dataclass(slots=True, kw_only=True)
class ColumnDecision:
    """The type of one column, None for text. `row` is the number of the row that left no type, if one did."""

    candidate: Candidate | None = None
    row: int | None = None
    value: str = ""
    values: int = 0
    """The number of values that are not NULL."""


@dataclass(slots=True, kw_only=True)
class _Column:
    name: str
    sample: ColumnSample
    remaining: list[Candidate] = field(default_factory=list)


class TypeJudge:
    """Judges the columns of `sql`, which are text and have the names of `samples`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, sql: str, samples: Mapping[str, ColumnSample]) -> None:
        self._connection = connection
        self._sql = sql
        self._columns = [_Column(name=name, sample=sample) for name, sample in samples.items()]
        self.verdicts = {name: ColumnDecision() for name in samples}
        self.engine_rows = 0
        """The number of rows that the engine reads."""

    def judge(self, mismatches: Mapping[str, str], check: Callable[[], None]) -> dict[str, int]:
        """Judge all columns, into `verdicts`. Returns how often each of the conditions `mismatches` is true."""
        self._complete_samples()
        for column in self._columns:
            column.remaining = list(column.sample.candidates)
        found = self._test(self._columns, mismatches)
        pending = [column for column in self._columns if self._settle(column, found)]
        conditions = {name: found[f"mismatches of {name}"] for name in mismatches}
        while pending:
            check()
            found = self._test(pending, {})
            pending = [column for column in pending if self._settle(column, found)]
        check()
        self._find_rows([column for column in self._columns if self._died(column)])
        return conditions

    def _complete_samples(self) -> None:
        """Find a value for columns that have only NULL, or only words such as nan, in the first rows."""
        unknown = [
            column
            for column in self._columns
            if not column.sample.seen or (column.sample.candidates and not column.sample.has_number)
        ]
        for group in _split(unknown):
            words = ", ".join(map(quote, WORDS))
            firsts = ", ".join(f"any_value(CASE WHEN {one.name} NOT IN ({words}) THEN {one.name} END)" for one in group)
            row = self._fetch(f"SELECT {firsts} FROM ({self._sql})")
            for column, value in zip(group, row, strict=True):
                column.sample.candidates = []
                if isinstance(value, str):
                    column.sample.candidates = find_candidates(value)

    def _test(self, columns: Sequence[_Column], mismatches: Mapping[str, str]) -> dict[str, int]:
        """Count the mismatches of the first remaining candidate of each column, and its values."""
        found: dict[str, int] = {}
        for group in _split(columns) or [[]]:
            counts: dict[str, str] = {}
            for column in group:
                counts[f"values of {column.name}"] = f"count({column.name})"
                if column.remaining:
                    condition = column.remaining[0].mismatch.format(c=column.name)
                    counts[f"mismatches of {column.name}"] = f"count_if({condition})"
            for name, condition in mismatches.items():
                counts[f"mismatches of {name}"] = f"count_if({condition})"
            row = self._fetch(f"SELECT {', '.join(('count(*)', *counts.values()))} FROM ({self._sql})")
            self.engine_rows = int(str(row[0]))
            numbers = [int(str(value or 0)) for value in row[1:]]  # `count_if` of no rows is NULL
            found.update(zip(counts, numbers, strict=True))
        return found

    def _settle(self, column: _Column, found: Mapping[str, int]) -> bool:
        """Take the result of a test. Returns whether another candidate has to be tested."""
        verdict = self.verdicts[column.name]
        verdict.values = found[f"values of {column.name}"]
        if not column.remaining or not verdict.values:
            return False
        if not found[f"mismatches of {column.name}"]:
            verdict.candidate = column.remaining[0]
            return False
        del column.remaining[0]
        return bool(column.remaining)

    def _died(self, column: _Column) -> bool:
        verdict = self.verdicts[column.name]
        return verdict.candidate is None and bool(column.sample.candidates) and verdict.values > 0

    def _find_rows(self, columns: Sequence[_Column]) -> None:
        """Find the row at which the last candidate of each of these columns died, and its value."""
        for column in columns:
            firsts = ", ".join(
                f"min(CASE WHEN {candidate.mismatch.format(c=column.name)} THEN {ROW} END)"
                for candidate in column.sample.candidates
            )
            rows = self._fetch(f"SELECT {firsts} FROM ({number_rows(self._sql, column.name)})")
            verdict = self.verdicts[column.name]
            verdict.row = max(int(str(row)) for row in rows)
            verdict.value = fetch_value(self._connection, self._sql, column.name, verdict.row)

    def _fetch(self, sql: str) -> tuple[object, ...]:
        row = self._connection.execute(sql).fetchone()
        assert row is not None  # noqa: S101 - an aggregate has one row
        return row


def _split(columns: Sequence[_Column]) -> list[Sequence[_Column]]:
    return [columns[start : start + MAX_COLUMNS_AT_ONCE] for start in range(0, len(columns), MAX_COLUMNS_AT_ONCE)]


def number_rows(sql: str, column: str) -> str:
    """Write a SELECT of one column with the numbers of the rows, from 0."""
    return f"SELECT {column}, row_number() OVER () - 1 AS {ROW} FROM ({sql})"


def fetch_value(connection: duckdb.DuckDBPyConnection, sql: str, column: str, row: int) -> str:
    """Fetch the value of a column in a row."""
    found = connection.execute(
        f"SELECT {column} FROM ({number_rows(sql, column)}) WHERE {ROW} = {row} LIMIT 1"
    ).fetchone()
    return "" if found is None or found[0] is None else str(found[0])
