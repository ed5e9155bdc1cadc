"""The first records of a table, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lakehouse.services.engines.writer_child.csv.layout import Layout
from lakehouse.services.engines.writer_child.csv.records import (
    Field,
    IncompleteRecord,
    RecordParser,
    TextAfterQuote,
    count_line_breaks,
)

MAX_ROWS = 2048
MAX_VALUES = 400_000
"""Values of all columns together: a very wide table has a sample of fewer rows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of each column, and the line of each row."""

    columns: Sequence[Sequence[str | None]]
    lines: Sequence[int]


def read_sample(data: bytes, layout: Layout, nulls: Sequence[str], *, final: bool) -> Sample:
    """Read the first records; ends before an irregularity, which the scan of the whole file reports."""
    rows: list[list[str | None]] = []
    lines: list[int] = []
    line = layout.data_line
    wanted = max(1, min(MAX_ROWS, MAX_VALUES // layout.columns))
    words = {word.encode() for word in nulls}
    try:
        for record, start in RecordParser(layout.dialect).split(data, final=final):
            if not record.blank or layout.columns == 1:
                rows.append(_read_row(record.fields, layout.columns, words))
                lines.append(line)
            line += count_line_breaks(data[start : record.end])
            if len(rows) == wanted:
                break
    except (TextAfterQuote, IncompleteRecord):
        pass
    columns = list(zip(*rows, strict=True)) if rows else [()] * layout.columns
    return Sample(columns, lines)


def _read_row(fields: Sequence[Field], columns: int, words: set[bytes]) -> list[str | None]:
    values = [None if not field.quoted and field.value in words else field.value.decode() for field in fields[:columns]]
    return values + [None] * (columns - len(values))
