"""The contract of a query engine: read-only SQL over the tables of a catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.values import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One read-only SQL statement.

    `timeout` can only shorten the timeout of the engine. `max_rows` None means that the number of rows is not limited.
    """

    sql: str
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
    """A running query: its columns, then its rows as Arrow record batches in the IPC stream format.

    The stream is valid Arrow only if it was read to its end. A query that fails midway raises from the iterator.
    """

    columns: Sequence[Column]

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    @property
    def scanned(self) -> ScanProgress: ...

    @property
    def truncated(self) -> bool:
        """Whether `max_rows` cut the result; valid at the end of the stream."""


class QueryEngine(Protocol):
    """SQL over the tables of the catalog."""

    def run(self, query: Query) -> AbstractAsyncContextManager[QueryResult]:
        """Start a query. The block begins when the columns are available; its end stops the query's computation.

        Raises ErrBadRequest (with the position, where available), ErrForbidden for a statement that is not read-only,
        ErrUnavailable if all engines stay busy for too long, ErrTimeout.
        """
