"""The client of a server of Arrow Flight SQL, in the child of a remote engine: ADBC's driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import adbc_driver_flightsql
import adbc_driver_manager as adbc
import pyarrow as pa

from lakehouse.process.calls.rpc_child import Call, CallError
from lakehouse.services.engines.query_messages import BAD_REQUEST, UNREACHABLE
from lakehouse.services.engines.remote_child.flight_sql_errors import make_call_error
from lakehouse.services.engines.remote_child.loopback import is_loopback
from lakehouse.services.engines.remote_messages import RemoteRequest, SourceSettings, VersionRequest

CANCEL_PAUSE = 0.02
"""Seconds between attempts to cancel a statement that has not started yet."""
CANCEL_TIME = 1.0
"""Seconds in which that is tried."""
MAX_MESSAGE = 128 * 1024 * 1024
QUEUE = 2
"""Batches that the driver reads ahead."""
_OF_CONNECTION = ("adbc.flight.sql.session.", "adbc.connection.")
"""How options of the connection begin; the others are of the database."""
_TIMEOUTS = ("adbc.flight.sql.rpc.timeout_seconds.query", "adbc.flight.sql.rpc.timeout_seconds.fetch")


class FlightSqlBatches:
    """The rows of a statement (`source.Batches`)."""

    casts: Sequence[str] = ()
    scanned: tuple[int, int] | None = None

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader
        self.schema: pa.Schema = reader.schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._reader
        except (adbc.Error, pa.ArrowException, OSError) as error:
            raise make_call_error(error) from None


class FlightSqlSource:
    """The client of one server (`source.Source`). Its connection is kept until the credentials change or it breaks."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._credentials: tuple[str, str] | None = None
        self._database: adbc.AdbcDatabase | None = None
        self._connection: adbc.AdbcConnection | None = None
        self._statement: adbc.AdbcStatement = None

    @contextmanager
    def open(self, request: RemoteRequest, call: Call) -> Iterator[FlightSqlBatches]:
        """Start a statement; at the end of the block it is cancelled, if rows are left."""
        try:
            batches = self._execute(request)
        except CallError:
            self._close_statement()
            raise
        except adbc.Error as error:
            self._close_statement()
            call.check_cancelled()
            failure = make_call_error(error)
            if failure.failure.kind == UNREACHABLE:
                self._disconnect()
            raise failure from None
        try:
            yield batches
        finally:
            with suppress(adbc.Error):
                if self._statement is not None:
                    self._statement.cancel()
            self._close_statement()

    def read_version(self, request: VersionRequest) -> str:
        """Ask the server for its name and version, as far as it says them."""
        try:
            connection = self._connect(request)
            info = pa.RecordBatchReader.from_stream(connection.get_info([0, 1])).read_all().to_pylist()
        except (adbc.Error, pa.ArrowException, OSError) as error:
            raise make_call_error(error) from None
        finally:
            self._disconnect()
        return " ".join(str(row["info_value"]) for row in info)

    def interrupt(self) -> None:
        """Cancel the running statement; called by another thread, and returns at once."""
        if (statement := self._statement) is not None:
            threading.Thread(target=self._cancel, args=(statement,), daemon=True).start()

    def _execute(self, request: RemoteRequest) -> FlightSqlBatches:
        row = make_row(request.params) if request.params else None
        connection = self._connect(request)
        self._statement = statement = adbc.AdbcStatement(connection)
        timeouts = dict.fromkeys(_TIMEOUTS, f"{request.timeout:.3f}")
        statement.set_options(**timeouts, **{"adbc.rpc.result_queue_size": str(QUEUE)})
        statement.set_sql_query(request.sql)
        if row is not None:
            _bind(statement, row)
        stream, _ = statement.execute_query()
        return FlightSqlBatches(pa.RecordBatchReader.from_stream(stream))

    def _connect(self, request: RemoteRequest | VersionRequest) -> adbc.AdbcConnection:
        credentials = (request.password, request.token)
        if self._credentials != credentials:
            self._disconnect()
        if self._connection is None:
            database, session = self._make_options(request)
            self._database = adbc_driver_flightsql.connect(self._settings.url, db_kwargs=database)
            self._connection = adbc.AdbcConnection(self._database, **session)
            self._credentials = credentials
        return self._connection

    def _make_options(self, request: RemoteRequest | VersionRequest) -> tuple[dict[str, str], dict[str, str]]:
        """The options of the database and of the connection."""
        url = urlsplit(self._settings.url)
        if (request.password or request.token) and url.scheme != "grpc+tls" and not is_loopback(url.hostname or ""):
            raise CallError(
                UNREACHABLE, "passwords and tokens are not sent without TLS: queryd.flightsql.url must be grpc+tls://"
            )
        options = self._settings.options
        session = {name: value for name, value in options.items() if name.startswith(_OF_CONNECTION)}
        database = {name: value for name, value in options.items() if name not in session}
        database.setdefault("adbc.flight.sql.client_option.with_max_msg_size", str(MAX_MESSAGE))
        if self._settings.user and request.password:
            database.update(username=self._settings.user, password=request.password)
        if request.token:
            database["adbc.flight.sql.authorization_header"] = f"Bearer {request.token}"
        return database, session

    def _cancel(self, statement: adbc.AdbcStatement) -> None:
        """Cancel a statement until its thread has ended it: the first attempt may come before it has started."""
        limit = time.monotonic() + CANCEL_TIME
        while self._statement is statement and time.monotonic() < limit:
            with suppress(adbc.Error):
                statement.cancel()
            time.sleep(CANCEL_PAUSE)

    def _close_statement(self) -> None:
        statement, self._statement = self._statement, None
        if statement is not None:
            with suppress(adbc.Error):
                statement.close()

    def _disconnect(self) -> None:
        for handle in (self._connection, self._database):
            if handle is not None:
                with suppress(adbc.Error):
                    handle.close()
        self._connection = self._database = self._credentials = None


def _bind(statement: adbc.AdbcStatement, row: pa.RecordBatch) -> None:
    """Set the parameters of a statement. Raises adbc.Error, and CallError for a server that takes none."""
    try:
        statement.prepare()
        statement.bind(row)
    except adbc.NotSupportedError as error:
        why = make_call_error(error).failure.message
        raise CallError(
            BAD_REQUEST,
            "the server at queryd.flightsql.url takes no parameters, so write their values into the statement: it does"
            f" not know prepared statements ({why})",
        ) from None


def make_row(params: list[object] | dict[str, object]) -> pa.RecordBatch:
    """One row with the parameters of a statement. Raises CallError for a value that cannot be one."""
    values = list(params.values()) if isinstance(params, dict) else params
    columns = []
    for number, value in enumerate(values, 1):
        if isinstance(value, list | dict):
            raise CallError(
                BAD_REQUEST,
                f"parameter {number} is an array or an object, which no parameter is",
            )
        try:
            columns.append(pa.array([value]))
        except (OverflowError, pa.ArrowException):
            raise CallError(BAD_REQUEST, f"parameter {number} is a number of more than 64 bits") from None
    return pa.record_batch(columns, names=[f"parameter{number}" for number in range(1, len(columns) + 1)])
