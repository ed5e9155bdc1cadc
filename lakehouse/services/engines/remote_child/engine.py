"""One request after another: the rows of a remote statement, written in the format of the answer."""

from __future__ import annotations

import duckdb
import msgspec
from nanoarrow._utils import NanoarrowException

from lakehouse.process.calls.rpc_child import Call, CallError
from lakehouse.services.engines.query_child import result_writer
from lakehouse.services.engines.query_child.answer_writer import write_answer
from lakehouse.services.engines.query_child.call_errors import make_call_error
from lakehouse.services.engines.query_child.output import Output
from lakehouse.services.engines.query_child.result_writer import Columns, Progress
from lakehouse.services.engines.query_messages import PARQUET_PIPE, UNPROCESSABLE, QueryEnd
from lakehouse.services.engines.remote_child.batch_writer import write_arrow_batches, write_text_batches
from lakehouse.services.engines.remote_child.row_stream import RowStream
from lakehouse.services.engines.remote_child.source import Batches, Source
from lakehouse.services.engines.remote_messages import RemoteRequest


class RemoteEngine:
    """Runs one request at a time."""

    def __init__(self, database: duckdb.DuckDBPyConnection, source: Source, *, spill: str) -> None:
        self._database = database
        self._source = source
        self._pipe = f"{spill}/{PARQUET_PIPE}"
        self._connection: duckdb.DuckDBPyConnection | None = None

    def interrupt(self) -> None:
        """Cancel the running statement; called by another thread."""
        self._source.interrupt()
        if (connection := self._connection) is not None:
            connection.interrupt()

    def handle(self, call: Call) -> bytes:
        """Run one request."""
        request = msgspec.json.decode(call.payload, type=RemoteRequest)
        with self._source.open(request, call) as batches:
            self._connection = connection = self._database.cursor()
            try:
                return self._answer(call, connection, request, batches)
            except MemoryError:
                raise CallError(UNPROCESSABLE, "the answer needs more than its memory", replace=True) from None
            finally:
                self._connection = None
                connection.close()

    def _answer(
        self, call: Call, connection: duckdb.DuckDBPyConnection, request: RemoteRequest, batches: Batches
    ) -> bytes:
        stream = RowStream(batches)
        try:
            columns = stream.read_columns(connection)
            output = Output(call, columns.describe())
            progress = self._write(connection, stream, columns, output, request)
        except (duckdb.Error, NanoarrowException) as error:
            call.check_cancelled()
            if stream.failure is not None:
                raise stream.failure from None
            raise _not_of_the_client(make_call_error(error, stream.statement)) from None
        return output.end(QueryEnd(rows=progress.rows, truncated=progress.truncated, scanned=batches.scanned))

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        stream: RowStream,
        columns: Columns,
        output: Output,
        request: RemoteRequest,
    ) -> Progress:
        if request.format == "parquet":  # a file has groups of many rows
            stream.register_all(connection)
            query = result_writer.build_query(stream.statement, columns, request.format, request.max_rows).text
            return write_answer(
                connection, query, columns, output, answer="parquet", max_rows=request.max_rows, pipe=self._pipe
            )
        if request.format == "arrow":
            return write_arrow_batches(connection, stream, output, request)
        return write_text_batches(connection, stream, columns, output, request)


def _not_of_the_client(error: CallError) -> CallError:
    """An error of DuckDB, which ran a statement of ours: the client's was right."""
    failure = error.failure
    return CallError(
        UNPROCESSABLE, f"the rows of the engine cannot be written: {failure.message}", replace=failure.replace
    )
