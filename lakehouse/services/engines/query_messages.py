"""The messages between the query engine and its children: one request for each call, in msgpack.

    child  <── QueryRequest
    child  ──> as the result, StatementNeeds: the tables that the parent has to resolve first. Nothing has run.
    child  ──> or QueryWhole as the result: a small answer, complete
    child  ──> or a first item, QueryHeader, then items with the bytes of the answer, and QueryEnd as the result

A failure of a call has one of the kinds below; `details` of it is a JSON object, with the `position` in characters
where the engine knows it.
"""

from __future__ import annotations

import msgspec

from lakehouse.services.contracts.query_engine import ResultFormat
from lakehouse.services.engines.table_files import FieldInfo, FileInfo

BAD_REQUEST, FORBIDDEN, UNPROCESSABLE = "bad request", "forbidden", "unprocessable"
UNREACHABLE, TIMED_OUT = "unreachable", "timed out"
"""Further kinds of a remote engine: no connection to it, or none any more; its own time limit."""
PARQUET_PIPE = "answer.parquet"
"""The named pipe in the spill folder of a child, into which the database writes Parquet. The parent makes it,
because the sandbox of the child does not allow it."""


class TableReference(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A table as a statement names it: `a.b` has two parts. `version` is that of `AT (VERSION => ...)`, as text.

    `position` is where the statement names it, in characters, None where the parser does not say. An `optional` one
    has the name of a common table expression, which hides the table in a part of the statement.
    """

    path: tuple[str, ...]
    version: str | None = None
    position: int | None = None
    optional: bool = False


class StatementNeeds(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="needs"):
    """What a statement reads: tables, and with `catalog` also the list of all tables and their columns."""

    references: tuple[TableReference, ...] = ()
    catalog: bool = False


class TableSource(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The rows behind a reference: the columns and the files of one snapshot of a table.

    `query` is SQL over the rows of the files, which are in the place of `{rows}`; empty for these rows themselves.
    """

    path: tuple[str, ...]
    version: str | None
    fields: tuple[FieldInfo, ...]
    files: tuple[FileInfo, ...]
    query: str = ""


class ListedTable(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A table for the catalog's views: its name, and name and type of its columns."""

    name: str
    columns: tuple[tuple[str, str], ...]


class QueryRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One statement. It runs if it needs nothing, or if it is `resolved`: then `tables` has all that it needs.

    With `check_only` it does not run in any case.
    `params` is a JSON array or object. `listing` has all tables of the lake, if the statement reads the catalog.
    """

    sql: str
    params: bytes = b"[]"
    format: ResultFormat = "arrow"
    max_rows: int | None = None
    check_only: bool = False
    resolved: bool = False
    tables: tuple[TableSource, ...] = ()
    listing: tuple[ListedTable, ...] | None = None


class QueryHeader(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Name and type of the columns."""

    columns: tuple[tuple[str, str], ...]


class QueryEnd(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="end"):
    """The end of a complete answer, and the rows and bytes that were read for it, None if the engine cannot say."""

    rows: int
    truncated: bool = False
    scanned: tuple[int, int] | None = None


class QueryWhole(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="whole"):
    """A complete answer in one message."""

    columns: tuple[tuple[str, str], ...]
    data: bytes
    end: QueryEnd
