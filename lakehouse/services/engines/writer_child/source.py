"""What the inspection of a file yields, the same for all formats: a SELECT that `convert` and `upsert` run again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.write_engine import IngestWarning

MAX_COLUMNS = 10_000
"""Columns of a file."""
MAX_VALUE = 16 * 2**20
"""Bytes of one value; of JSON, characters of one string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRows:
    """The rows of a file whose format is text, before a value has a type.

    `sql` yields the rows; for each column there is an expression of its value, and, if its type was not forced, one of
    the text that the file has.
    """

    sql: str
    values: Mapping[str, str]
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedSource:
    """The verdict over a whole file.

    `sql` is one SELECT over plain files in the staging directory, with paths relative to the working directory. It can
    be run any number of times and yields exactly `row_count` rows with exactly `columns`, in the order of the file.
    `open_types` has the types of the columns that have no values, or have parts without values, with NULL in the place
    of a type that no value decided. `first_line` is the line of the first row if each row has one line.
    """

    columns: Sequence[Column]
    row_count: int
    warnings: Sequence[IngestWarning]
    sql: str
    open_types: Mapping[str, str] = field(default_factory=dict)
    text: TextRows | None = None
    first_line: int | None = 1


def merge_warnings(warnings: Iterable[IngestWarning]) -> list[IngestWarning]:
    """Join the warnings about the same column into one, which has the line of the last one that has a line."""
    merged: dict[str | int, IngestWarning] = {}
    for number, warning in enumerate(warnings):
        key = number if warning.column is None else warning.column
        earlier = merged.get(key)
        if earlier is None:
            merged[key] = warning
            continue
        line = earlier.line if warning.line is None else warning.line
        merged[key] = replace(earlier, line=line, message=f"{earlier.message}; {warning.message}")
    return list(merged.values())
