"""Writes an answer batch by batch as the server sends them: a stream does not wait for rows that are not there yet.

DuckDB would collect a megabyte before it gives the first row of a table that it reads as a stream.
"""

from __future__ import annotations

import duckdb
from nanoarrow.c_array_stream import CArrayStream
from nanoarrow.ipc import StreamWriter

from lakehouse.services.engines.query_child import result_writer
from lakehouse.services.engines.query_child.output import Output
from lakehouse.services.engines.query_child.result_writer import Columns, Progress
from lakehouse.services.engines.remote_child.row_stream import RowStream
from lakehouse.services.engines.remote_messages import RemoteRequest


def write_text_batches(
    connection: duckdb.DuckDBPyConnection, stream: RowStream, columns: Columns, output: Output, request: RemoteRequest
) -> Progress:
    """Write JSON, NDJSON or CSV. Raises duckdb.Error, and what the source raises."""
    query = result_writer.build_query(stream.statement, columns, request.format, None).text
    if request.format == "csv":
        output.write(result_writer.csv_header(columns))
    total, eager = Progress(), request.format != "json"
    for _ in stream.register_each(connection):
        with result_writer.open_batches(connection, query, (), rows=result_writer.TEXT_BATCH) as batches:
            _add(total, result_writer.write_text(batches, output, _rest(request, total), eager=eager))
        if total.truncated:
            break
    return total


def write_arrow_batches(
    connection: duckdb.DuckDBPyConnection, stream: RowStream, output: Output, request: RemoteRequest
) -> Progress:
    """Write one IPC stream; after an error its end mark is missing. Raises as above."""
    total, writer = Progress(), StreamWriter.from_writable(output)
    query = stream.statement.text
    with result_writer.open_batches(connection, query, (), rows=1) as nothing:  # the columns alone are registered
        schema = nothing.get_schema()
    writer.write_stream(CArrayStream.from_c_arrays([], schema))
    output.flush()
    for _ in stream.register_each(connection):
        with result_writer.open_batches(connection, query, (), rows=result_writer.ARROW_BATCH) as batches:
            _add(total, result_writer.write_arrow_batches(writer, schema, batches, output, _rest(request, total)))
        if total.truncated:
            break
    writer.close()
    return total


def _rest(request: RemoteRequest, total: Progress) -> int | None:
    """The rows that the answer may still have."""
    return None if request.max_rows is None else request.max_rows - total.rows


def _add(total: Progress, part: Progress) -> None:
    total.rows += part.rows
    total.truncated = part.truncated
