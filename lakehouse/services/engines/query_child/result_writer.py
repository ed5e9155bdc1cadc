"""The result of a statement: its rows in one of the formats, batch by batch.

The text of JSON, NDJSON and CSV is made by the engine itself: the statement becomes a subquery, and a projection around
it writes each row as one string (`text`). Arrow stores the strings of a batch one after another, so the bytes of a
batch are sent as they are. A row limit is pushed into the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import duckdb
import nanoarrow as na
from duckdb.sqltypes import DuckDBPyType
from nanoarrow.c_array_stream import CArrayStream
from nanoarrow.c_schema import CSchema
from nanoarrow.ipc import StreamWriter

from lakehouse.process.calls.rpc_child import CallError
from lakehouse.services.contracts.query_engine import ResultFormat
from lakehouse.services.engines.database import quote_name
from lakehouse.services.engines.query_child import text
from lakehouse.services.engines.query_child.output import Output
from lakehouse.services.engines.query_child.rewriting import Rewritten
from lakehouse.services.engines.query_messages import BAD_REQUEST

Parameters = Sequence[object] | dict[str, object]

TEXT_BATCH = 8192
ARROW_BATCH = 16_384
"""Rows of a batch: few enough that the first one comes soon, and enough that the work for a batch does not count."""
STREAM_BUFFER = "1MB"
"""What the engine computes ahead of its reader. With the default, 16 times as much, a stream begins 17 ms later."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of an answer."""

    names: Sequence[str]
    types: Sequence[DuckDBPyType]

    def describe(self) -> tuple[tuple[str, str], ...]:
        """Name and type of each column, in the engine's notation."""
        return tuple((name, str(kind).strip('"')) for name, kind in zip(self.names, self.types, strict=True))

    @property
    def aliases(self) -> str:
        """The names c0, c1, ... under which the columns of the subquery are selected."""
        return ", ".join(f"c{index}" for index in range(len(self.names)))


@dataclass(slots=True)
class Progress:
    """How many rows were written, and whether the limit cut the rest."""

    rows: int = 0
    truncated: bool = False


def limit_buffer(connection: duckdb.DuckDBPyConnection) -> None:
    """Limit what the next streams of this connection compute ahead. Not every version allows it."""
    with suppress(duckdb.Error):
        connection.execute(f"SET streaming_buffer_size = '{STREAM_BUFFER}'")


def read_columns(connection: duckdb.DuckDBPyConnection, statement: str, parameters: Parameters) -> Columns:
    """Bind a statement, without running it. Raises duckdb.Error."""
    relation = connection.sql(statement, params=parameters or None)
    if relation is None:
        raise CallError(BAD_REQUEST, "the statement has no result")
    return Columns(relation.columns, relation.types)


def build_query(statement: Rewritten, columns: Columns, answer: ResultFormat, max_rows: int | None) -> Rewritten:
    """Put the projection of the format and the row limit around a statement."""
    if answer == "json":
        selected = text.json_row(columns.types)
    elif answer == "ndjson":
        selected = text.ndjson_row(unique_names(columns.names), columns.types)
    elif answer == "csv":
        selected = text.csv_row(columns.types)
    elif answer == "arrow" and max_rows is None:
        return statement
    else:
        names = unique_names(columns.names) if answer == "parquet" else columns.names
        selected = ", ".join(f"c{index} AS {quote_name(name)}" for index, name in enumerate(names))
    limit = "" if max_rows is None else f" LIMIT {max_rows + 1}"
    return statement.wrap(
        f"SELECT {selected} FROM (\n",  # noqa: S608 - the statement was checked
        f"\n) AS answer({columns.aliases}){limit}",
    )


def unique_names(names: Sequence[str]) -> list[str]:
    """Number repeated names: a, a_1, a_2. Case counts as different only for readers, not for the engine."""
    seen: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 0
        while candidate.lower() in seen:
            number += 1
            candidate = f"{name}_{number}"
        seen.add(candidate.lower())
        unique.append(candidate)
    return unique


def csv_header(columns: Columns) -> bytes:
    """The first line of CSV."""
    return (",".join(map(_csv_name, columns.names)) + "\r\n").encode()


def _csv_name(name: str) -> str:
    special = not name or any(character in name for character in '",\r\n')
    return '"' + name.replace('"', '""') + '"' if special else name


@contextmanager
def open_batches(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Parameters, *, rows: int
) -> Iterator[CArrayStream]:
    """Run a query for the length of the block, with about `rows` rows in a batch. Raises duckdb.Error."""
    relation = connection.sql(query, params=parameters or None)
    if (submit := getattr(relation, "_submit", None)) is not None:  # to_arrow_reader(batch_size), without pyarrow
        batches = na.c_array_stream(submit("stream", rows).arrow_capsule())
    else:  # before version 2
        batches = na.c_array_stream(relation.fetch_record_batch(rows))
    try:
        yield batches
    finally:
        if batches.is_valid():
            batches.release()


def write_text(batches: CArrayStream, output: Output, max_rows: int | None, *, eager: bool) -> Progress:
    """Write the strings of the only column one after another. An `eager` stream sends each batch when it is there."""
    progress = Progress()
    for batch in batches:
        count = _admit(progress, batch.length, max_rows)
        strings = batch.view().child(0)
        offsets = memoryview(strings.buffer(1))
        first = strings.offset
        output.write(memoryview(strings.buffer(2)).cast("B")[offsets[first] : offsets[first + count]])
        if eager:
            output.flush()
        if progress.truncated:
            break
    return progress


def write_arrow(batches: CArrayStream, output: Output, max_rows: int | None) -> Progress:
    """Write an IPC stream. After an error its end mark is missing."""
    writer = StreamWriter.from_writable(output)
    schema = batches.get_schema()
    writer.write_stream(CArrayStream.from_c_arrays([], schema))
    output.flush()
    progress = write_arrow_batches(writer, schema, batches, output, max_rows)
    writer.close()
    return progress


def write_arrow_batches(
    writer: StreamWriter, schema: CSchema, batches: CArrayStream, output: Output, max_rows: int | None
) -> Progress:
    """Write batches into an IPC stream that has begun, and send each when it is there."""
    progress = Progress()
    for batch in batches:
        count = _admit(progress, batch.length, max_rows)
        if count:
            kept = batch if count == batch.length else batch[:count]
            writer.write_stream(CArrayStream.from_c_arrays([kept], schema, validate=False))
            output.flush()
        if progress.truncated:
            break
    return progress


def _admit(progress: Progress, length: int, max_rows: int | None) -> int:
    """How many rows of a batch belong to the answer."""
    count = length if max_rows is None else min(length, max_rows - progress.rows)
    progress.rows += count
    progress.truncated = count < length
    return count


def write_rows(connection: duckdb.DuckDBPyConnection, output: Output, max_rows: int | None) -> Progress:
    """Write the strings of the statement that was executed last: for few rows faster than a stream of Arrow."""
    progress = Progress()
    while rows := connection.fetchmany(TEXT_BATCH):
        count = _admit(progress, len(rows), max_rows)
        output.write("".join([text for (text,) in rows[:count]]).encode())
        if progress.truncated:
            break
    return progress
