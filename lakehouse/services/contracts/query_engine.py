"""The contract of a query engine: read-only SQL over the tables of a catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.values import JsonValue

ResultFormat = Literal["arrow", "json", "ndjson", "csv", "parquet"]
"""What the bytes of a result are, made by the engine.

"arrow" is an IPC stream, "parquet" a file, "csv" has a header line, "ndjson" one object for each line. "json" is the
inside of an array of rows, `[1,"a"],[2,"b"],` with a comma after each row: the caller writes the document around it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One read-only SQL statement.

    `timeout` can only shorten the timeout of the engine. `max_rows` None means that the number of rows is not limited.
    `snapshot_id` applies to the only table that the statement reads.
    """

    sql: str
    format: ResultFormat = "arrow"
    params: Sequence[JsonValue] | Mapping[str, JsonValue] = ()
    timeout: float | None = None
    max_rows: int | None = None
    snapshot_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanProgress:
    """The amount of data that a query has read so far."""

    rows: int
    bytes: int


class QueryResult(Protocol):
    """A running query: its columns, then its rows as bytes of the query's format, in pieces of any size.

    The bytes are complete only if they were read to the end. A query that fails midway raises from the iterator.
    `row_count`, `truncated` (whether `max_rows` cut the result), `scanned` and `warnings` (sentences of the engine) are
    valid at the end of the stream.
    """

    columns: Sequence[Column]

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    @property
    def row_count(self) -> int: ...

    @property
    def truncated(self) -> bool: ...

    @property
    def scanned(self) -> ScanProgress: ...

    @property
    def warnings(self) -> Sequence[str]: ...


def ignore_start() -> None:
    """The caller does not want to know when the query starts."""


class QueryEngine(Protocol):
    """SQL over the tables of the catalog."""

    def run(
        self, query: Query, *, on_start: Callable[[], None] = ignore_start
    ) -> AbstractAsyncContextManager[QueryResult]:
        """Start a query. The block begins when the columns are available; its end stops the query's computation.

        `on_start` is called when an engine takes the query, after the wait for one.

        Raises ErrBadRequest (with the `position` in `details`, where the engine knows it), ErrForbidden for a statement
        that does more than read tables, ErrUnprocessable if a limit of the engine is reached or it ends,
        ErrUnavailable if all engines stay busy for too long, ErrTimeout. The iterator raises them too.
        """
