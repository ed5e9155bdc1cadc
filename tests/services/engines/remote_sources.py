"""A source of rows for the child of a remote engine: DuckDB, as if it was the client of a server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from lakehouse.process.calls.rpc_child import Call, CallError
from lakehouse.services.engines.query_messages import BAD_REQUEST, UNREACHABLE
from lakehouse.services.engines.remote_messages import RemoteRequest, SourceSettings

BATCH = 10_000


class _Rows:
    """The rows of a statement, as they are asked for."""

    casts: Sequence[str] = ()
    scanned: tuple[int, int] | None = (7, 70)

    def __init__(self, reader: pa.RecordBatchReader, fails_after: int) -> None:
        self.schema = reader.schema
        self._reader = reader
        self._fails_after = fails_after

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(self._reader):
            if number == self._fails_after:
                raise CallError(UNREACHABLE, "the server has gone with the password s3cret-word")
            yield batch


class DuckdbSource:
    """Runs statements. The marks of a comment at its end make it fail, wait or end."""

    def __init__(self, settings: SourceSettings) -> None:
        assert settings.catalog == "lake"
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")

    def interrupt(self) -> None:
        """Stop the statement."""
        self._connection.interrupt()

    @contextmanager
    def open(self, request: RemoteRequest, _call: Call) -> Iterator[_Rows]:
        """Run a statement."""
        if "server_is_gone" in request.sql:
            raise CallError(UNREACHABLE, "there is no server")
        if "child_ends" in request.sql:
            os._exit(7)
        if "child_hangs" in request.sql:
            time.sleep(600)
        try:
            relation = self._connection.sql(request.sql, params=request.params or None)
        except duckdb.Error as error:
            raise CallError(BAD_REQUEST, str(error), details={"position": 3}) from None
        yield _Rows(relation.to_arrow_reader(BATCH), 3 if "fails_midway" in request.sql else -1)
