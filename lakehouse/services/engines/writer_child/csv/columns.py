"""The columns of a CSV file: their types by the verdict over all rows, and the warnings with the lines that decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.write_engine import IngestWarning
from lakehouse.services.engines.database import quote_name
from lakehouse.services.engines.writer_child.csv.reader import name_column
from lakehouse.services.engines.writer_child.csv.row_source import Rows
from lakehouse.services.engines.writer_child.csv.samples import Sample
from lakehouse.services.engines.writer_child.forced import describe_mismatch, make_mismatch
from lakehouse.services.engines.writer_child.source import InspectedSource, TextRows, merge_warnings
from lakehouse.services.engines.writer_child.type_samples import ColumnSample, sample_column
from lakehouse.services.engines.writer_child.type_verdict import ColumnDecision, TypeJudge

if TYPE_CHECKING:
    import duckdb

MAX_SHOWN = 60


class CountDiffers(Exception):
    """The engine reads another number of records than the file has."""

    def __init__(self, engine: int, own: int) -> None:
        super().__init__(f"the engine reads {engine} records and the file has {own}")


class ColumnJudge:
    """Decides the columns of one table. `forced` are the types of some columns, by their names."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        rows: Rows,
        sample: Sample,
        *,
        names: Sequence[str],
        forced: Mapping[str, str],
        check: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._rows = rows
        self._lines = sample.lines
        self._names = {name_column(position): name for position, name in enumerate(names)}
        self._forced = {column: forced[name] for column, name in self._names.items() if name in forced}
        self._samples = {
            column: ColumnSample() if column in self._forced else sample_column(values)
            for column, values in zip(self._names, sample.columns, strict=True)
        }
        self._check = check

    def judge(self, warnings: Sequence[IngestWarning], *, drop_last: bool) -> InspectedSource:
        """Judge all columns. `drop_last` says that the last column is left out if it has no value.

        Raises CountDiffers, the errors of the engine, and the error 422 for a value that a forced type does not fit.
        """
        judge = TypeJudge(
            self._connection,
            self._rows.sql,
            {column: sample for column, sample in self._samples.items() if column not in self._forced},
        )
        mismatches = judge.judge(
            {column: make_mismatch(column, type_name) for column, type_name in self._forced.items()}, self._check
        )
        if judge.engine_rows != self._rows.count:
            raise CountDiffers(judge.engine_rows, self._rows.count)
        for column, number in mismatches.items():
            if number:
                raise describe_mismatch(
                    self._connection,
                    self._rows.sql,
                    column,
                    (self._names[column], self._forced[column]),
                    lambda row: self._rows.find_lines([row])[row],
                )
        kept = list(self._names)
        if drop_last and kept[-1] not in self._forced and not judge.verdicts[kept[-1]].values:
            del kept[-1]
        return self._describe(judge.verdicts, kept, warnings)

    def _describe(
        self, verdicts: Mapping[str, ColumnDecision], kept: Sequence[str], warnings: Sequence[IngestWarning]
    ) -> InspectedSource:
        columns: list[Column] = []
        values: dict[str, str] = {}
        texts: dict[str, str] = {}
        empty: list[str] = []
        for column in kept:
            name, type_name, cast = self._names[column], "VARCHAR", column
            if column in self._forced:
                type_name = self._forced[column]
                cast = column if type_name == "VARCHAR" else f"CAST({column} AS {type_name})"
            elif (candidate := verdicts[column].candidate) is not None:
                type_name, cast = candidate.type, candidate.cast.format(c=column)
                texts[name] = column
            elif not verdicts[column].values:
                empty.append(name)
            columns.append(Column(name=name, type=type_name))
            values[name] = cast
        casts = ", ".join(f"{cast} AS {quote_name(name)}" for name, cast in values.items())
        return InspectedSource(
            columns=columns,
            row_count=self._rows.count,
            warnings=merge_warnings([*warnings, *self._warn(verdicts)]),
            sql=f"SELECT {casts} FROM ({self._rows.sql})",
            open_types=dict.fromkeys(empty, "NULL"),
            text=TextRows(sql=self._rows.sql, values=values, texts=texts),
            first_line=self._rows.first_line,
        )

    def _warn(self, verdicts: Mapping[str, ColumnDecision]) -> list[IngestWarning]:
        """Warn of the columns that look like numbers, dates or truth values, and are text."""
        lines = self._rows.find_lines([verdict.row for verdict in verdicts.values() if verdict.row is not None])
        warnings = []
        for column, verdict in verdicts.items():
            sample = self._samples[column]
            if verdict.row is not None:
                warnings.append(warn_text(self._names[column], lines[verdict.row], verdict.value))
            elif sample.decided is not None and sample.warns:
                warnings.append(warn_text(self._names[column], self._lines[sample.decided], sample.value))
        return warnings


def warn_text(name: str, line: int, value: str) -> IngestWarning:
    """The warning about a column that stays text."""
    shown = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}..."
    message = f"{name} is text: with {shown!r} in line {line}, no type gives every value back as it is written"
    return IngestWarning(column=name, line=line, message=message)
