"""Writes the whole answer to a query in its format: what differs between the formats, in one place."""

from __future__ import annotations

import duckdb

from lakehouse.services.contracts.query_engine import ResultFormat
from lakehouse.services.engines.query_child import parquet, result_writer
from lakehouse.services.engines.query_child.output import Output
from lakehouse.services.engines.query_child.result_writer import Columns, Parameters, Progress

STREAMED: frozenset[ResultFormat] = frozenset({"arrow", "csv", "ndjson"})
"""Formats whose first bytes are sent before the engine has made the rest."""


def write_answer(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    columns: Columns,
    output: Output,
    *,
    answer: ResultFormat,
    max_rows: int | None,
    parameters: Parameters = (),
    pipe: str,
) -> Progress:
    """Run a query that `result_writer.build_query` has made, and write what it gives.

    `pipe` is the named pipe through which Parquet comes. Raises duckdb.Error, NanoarrowException, CallCancelled.
    """
    if answer == "parquet":
        statement = parquet.copy_statement(query, pipe)
        progress = Progress()

        def run() -> None:
            (progress.rows,) = connection.execute(statement, parameters or None).fetchall()[0]

        parquet.write_parquet(run, pipe, output)
        return progress
    if answer == "arrow":
        with result_writer.open_batches(connection, query, parameters, rows=result_writer.ARROW_BATCH) as batches:
            return result_writer.write_arrow(batches, output, max_rows)
    if answer == "csv":
        output.write(result_writer.csv_header(columns))
    with result_writer.open_batches(connection, query, parameters, rows=result_writer.TEXT_BATCH) as batches:
        return result_writer.write_text(batches, output, max_rows, eager=answer != "json")
