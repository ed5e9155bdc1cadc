"""What the inspection of a file yields, the same for all formats: a SELECT that `convert` and `upsert` run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.write_engine import IngestWarning


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedSource:
    """The verdict over a whole file.

    `sql` is one SELECT over plain files in the staging directory, with paths relative to the working directory. It can
    be run any number of times and yields exactly `row_count` rows with exactly `columns`, in the order of the file.
    """

    columns: Sequence[Column]
    row_count: int
    warnings: Sequence[IngestWarning]
    sql: str


def quote_name(name: str) -> str:
    """Write a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
