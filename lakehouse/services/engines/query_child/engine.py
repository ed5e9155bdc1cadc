"""One request after another, each on a connection of its own."""

from __future__ import annotations

import resource
from collections import OrderedDict
from collections.abc import Iterable

import duckdb
import msgspec
from nanoarrow._utils import NanoarrowException

from lakehouse.process.calls.rpc_child import Call, CallError
from lakehouse.services.contracts.catalog import is_system_table
from lakehouse.services.engines.database import quote
from lakehouse.services.engines.query_child import result_writer
from lakehouse.services.engines.query_child.answer_writer import STREAMED, write_answer
from lakehouse.services.engines.query_child.call_errors import make_call_error
from lakehouse.services.engines.query_child.output import Output
from lakehouse.services.engines.query_child.profile import enable_profile, read_scanned
from lakehouse.services.engines.query_child.repeated import Repeated, RepeatedRequests
from lakehouse.services.engines.query_child.result_writer import Columns, Parameters
from lakehouse.services.engines.query_child.rewriting import Rewritten
from lakehouse.services.engines.query_child.statements import Statement, check_statement
from lakehouse.services.engines.query_child.table_definitions import TableDefinitions
from lakehouse.services.engines.query_messages import (
    BAD_REQUEST,
    PARQUET_PIPE,
    UNPROCESSABLE,
    QueryEnd,
    QueryRequest,
    StatementNeeds,
)

MAX_STATEMENTS = 256
MAX_STATEMENT_SIZE = 16 * 1024
"""Characters of a statement up to which its check is kept for the next time."""
NOTHING = StatementNeeds()
NOTHING_READ = (0, 0)


class Engine:
    """Runs one request at a time."""

    def __init__(self, database: duckdb.DuckDBPyConnection, *, spill: str, cpu_seconds: int) -> None:
        self._database = database
        self._tables = TableDefinitions(database)
        self._repeated = RepeatedRequests(database)
        self._pipe = f"{spill}/{PARQUET_PIPE}"
        self._cpu_seconds = cpu_seconds
        self._checked: OrderedDict[str, Statement] = OrderedDict()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def interrupt(self) -> None:
        """Interrupt the running statement; called by another thread."""
        if (connection := self._connection) is not None:
            connection.interrupt()

    def handle(self, call: Call) -> bytes:
        """Run one request."""
        _limit_cpu(self._cpu_seconds)
        if (repeated := self._repeated.find(call.payload)) is not None:
            output = Output(call, repeated.columns)
            try:
                return self._run_again(repeated, output)
            except duckdb.Error:
                self._repeated.clear()
                call.check_cancelled()
                if output.begun:
                    raise
            finally:
                self._connection = None
        request = msgspec.msgpack.decode(call.payload, type=QueryRequest)
        statement = self._check(request.sql)
        if request.check_only or (statement.needs != NOTHING and not request.resolved):
            return msgspec.msgpack.encode(statement.needs)
        return self._run(call, request, statement)

    def _check(self, sql: str) -> Statement:
        statement = self._checked.get(sql)
        if statement is None:
            statement = check_statement(self._database, sql)
            if len(sql) <= MAX_STATEMENT_SIZE:
                self._checked[sql] = statement
                if len(self._checked) > MAX_STATEMENTS:
                    self._checked.popitem(last=False)
        else:
            self._checked.move_to_end(sql)
        return statement

    def _run(self, call: Call, request: QueryRequest, statement: Statement) -> bytes:
        self._connection = connection = self._database.cursor()
        try:
            self._tables.define(request.tables, request.listing)
            if _is_profiled(request, statement):
                enable_profile(connection)
            if request.format in STREAMED:
                result_writer.limit_buffer(connection)
            return self._answer(call, connection, request, statement)
        except duckdb.Error as error:
            call.check_cancelled()
            raise make_call_error(error, statement.rewritten) from None
        except MemoryError:
            raise CallError(UNPROCESSABLE, "the query needs more than its memory", replace=True) from None
        finally:
            self._connection = None
            connection.close()

    def _answer(
        self, call: Call, connection: duckdb.DuckDBPyConnection, request: QueryRequest, statement: Statement
    ) -> bytes:
        parameters = _decode_parameters(request.params)
        source = statement.rewritten
        if statement.explains:
            source, parameters = _explain(connection, source, parameters), ()
        elif statement.lists_tables:
            listing = request.listing or ()
            source = _list_names(table.name for table in listing if not is_system_table(table.name))
        columns = _read_columns(connection, source, parameters)
        query = result_writer.build_query(source, columns, request.format, request.max_rows)
        described = columns.describe()
        output = Output(call, described)
        try:
            progress = write_answer(
                connection,
                query.text,
                columns,
                output,
                answer=request.format,
                max_rows=request.max_rows,
                parameters=parameters,
                pipe=self._pipe,
            )
        except (duckdb.Error, NanoarrowException) as error:
            call.check_cancelled()
            raise make_call_error(error, query) from None
        profiled = _is_profiled(request, statement)
        scanned = read_scanned(connection) if profiled else NOTHING_READ if statement.needs == NOTHING else None
        repeatable = request.format == "json" and statement.repeatable and not parameters
        if repeatable and self._repeated.comes_again(call.payload):
            self._repeated.prepare(call.payload, request, query.text, profiled=profiled, columns=described)
        return output.end(QueryEnd(rows=progress.rows, truncated=progress.truncated, scanned=scanned))

    def _run_again(self, repeated: Repeated, output: Output) -> bytes:
        """Execute a prepared statement. Raises duckdb.Error."""
        self._connection = connection = repeated.connection
        request = repeated.request
        self._tables.define(request.tables, request.listing)
        connection.execute(f"EXECUTE {repeated.name}")
        progress = result_writer.write_rows(connection, output, request.max_rows)
        scanned = read_scanned(connection) if repeated.profiled else NOTHING_READ
        return output.end(QueryEnd(rows=progress.rows, truncated=progress.truncated, scanned=scanned))


def _is_profiled(request: QueryRequest, statement: Statement) -> bool:
    """Whether the engine measures what it reads. Streams do not report it, and a profile delays them by 15 ms."""
    return request.format == "json" and statement.needs != NOTHING


def _read_columns(connection: duckdb.DuckDBPyConnection, statement: Rewritten, parameters: Parameters) -> Columns:
    """Bind a statement. Raises CallError, with a position: only the error of a statement that is executed has one."""
    try:
        return result_writer.read_columns(connection, statement.text, parameters)
    except duckdb.Error as error:
        explained = statement.wrap("EXPLAIN ", "")
        try:
            connection.execute(explained.text, parameters or None)
        except duckdb.Error as located:
            raise make_call_error(located, explained) from None
        raise make_call_error(error, statement) from None


def _explain(connection: duckdb.DuckDBPyConnection, statement: Rewritten, parameters: Parameters) -> Rewritten:
    """Run an EXPLAIN, whose result cannot be a subquery, and make a statement that has its rows."""
    rows = connection.execute(statement.text, parameters or None).fetchall()
    values = ", ".join(f"({quote(str(key))}, {quote(str(value))})" for key, value in rows)
    return Rewritten(f"SELECT * FROM (VALUES {values}) AS plan(explain_key, explain_value)")  # noqa: S608 - quoted


def _list_names(names: Iterable[str]) -> Rewritten:
    """SHOW TABLES with the names of users' tables: the engine would list one schema."""
    values = ", ".join(f"({quote(name)})" for name in names)
    rows = f"VALUES {values}" if values else "SELECT '' WHERE false"
    return Rewritten(f"SELECT name FROM ({rows}) AS tables(name) ORDER BY name")  # noqa: S608 - quoted


def _decode_parameters(encoded: bytes) -> Parameters:
    try:
        value = msgspec.json.decode(encoded, type=list[object] | dict[str, object])
    except RecursionError:
        raise CallError(BAD_REQUEST, "`params` is nested too deeply") from None
    return value


def _limit_cpu(seconds: int) -> None:
    """Let the kernel end this process after so much more processor time: the parent may be unable to."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + seconds, hard))
