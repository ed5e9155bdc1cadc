"""The batches of a source as a table of DuckDB: one after another, or all as one table that is read once."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from lakehouse.services.engines.database import quote_name
from lakehouse.services.engines.query_child import result_writer
from lakehouse.services.engines.query_child.result_writer import Columns
from lakehouse.services.engines.query_child.rewriting import Rewritten
from lakehouse.services.engines.remote_child.arrow_types import normalize_batch, normalize_schema
from lakehouse.services.engines.remote_child.source import Batches

NAME = "remote_rows"


class RowStream:
    """The rows of a statement. `statement` selects those that are registered, with their names and types.

    `failure` is what the source raised while DuckDB read all rows: DuckDB only quotes it.
    """

    def __init__(self, batches: Batches) -> None:
        self.failure: Exception | None = None
        self._batches = batches
        self._schema = normalize_schema(batches.schema)
        casts = list(batches.casts) or [""] * len(self._schema)
        selected = ", ".join(
            f"{_cast(f'c{index}', cast)} AS {quote_name(name)}"
            for index, (name, cast) in enumerate(zip(batches.schema.names, casts, strict=True))
        )
        self.statement = Rewritten(f"SELECT {selected} FROM {NAME}")  # noqa: S608 - names are quoted, types are ours

    def read_columns(self, connection: duckdb.DuckDBPyConnection) -> Columns:
        """The columns of the answer; no rows are registered afterwards."""
        connection.register(NAME, pa.Table.from_batches([], self._schema))
        bound = result_writer.read_columns(connection, self.statement.text, ())
        return Columns(self._batches.schema.names, bound.types)

    def register_each(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Register one batch after another. Raises what the source raises."""
        for batch in self._batches:
            if batch.num_rows:
                connection.register(NAME, pa.Table.from_batches([normalize_batch(batch, self._schema)]))
                yield

    def register_all(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Register all rows as one table, which is read once and only as far as it is needed."""
        connection.register(NAME, pa.RecordBatchReader.from_batches(self._schema, self._read()))

    def _read(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                yield normalize_batch(batch, self._schema)
        except Exception as error:
            self.failure = error
            raise


def _cast(column: str, kind: str) -> str:
    return f"CAST({column} AS {kind})" if kind else column
