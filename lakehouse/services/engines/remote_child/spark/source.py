"""The source of a child for Spark Connect: one statement at a time, in a session that is kept.

A statement is a query if the server can read it as a subquery: no statement that writes can stand there.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import grpc

from lakehouse.process.calls.rpc_child import Call, CallError
from lakehouse.services.engines.query_messages import BAD_REQUEST, UNREACHABLE
from lakehouse.services.engines.remote_child.spark.column_types import UnsupportedType, check_types
from lakehouse.services.engines.remote_child.spark.errors import SessionLost, not_a_query, unreachable
from lakehouse.services.engines.remote_child.spark.execution import Execution, SparkBatches
from lakehouse.services.engines.remote_child.spark.literals import limit_rows, make_sql
from lakehouse.services.engines.remote_child.spark.session import ANSWER_TIMEOUT, Session
from lakehouse.services.engines.remote_messages import RemoteRequest, SourceSettings, VersionRequest

START_TIME = 0.7
"""Seconds in which a statement has started to work on the server, before it is interrupted in any case."""
INTERRUPT_PAUSE = 0.1
"""Seconds between two attempts to interrupt a statement."""
INTERRUPT_TIME = 2.0
"""Seconds in which a statement has to end then."""
LEEWAY = 3.0
"""Seconds beyond the time limit of a statement, at which the parent cancels it."""
MAX_PROVEN = 256


class SparkSource:
    """The client of one server (`source.Source`)."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._session: Session | None = None
        self._execution: Execution | None = None
        self._queries: OrderedDict[str, None] = OrderedDict()

    @contextmanager
    def open(self, request: RemoteRequest, call: Call) -> Iterator[SparkBatches]:
        """Start a statement; at the end of the block it is interrupted, if it still runs."""
        try:
            try:
                batches = self._start_again(request, call)
            except CallError as error:
                call.check_cancelled()
                if error.failure.kind == UNREACHABLE:
                    self._close()
                raise
            yield batches
        finally:
            self._stop()

    def read_version(self, request: VersionRequest) -> str:
        """Ask the server for its version."""
        session = Session(self._settings, request.token)
        try:
            return session.read_version(time.monotonic() + ANSWER_TIMEOUT)
        except SessionLost:
            raise unreachable("it loses its sessions") from None
        finally:
            session.close()

    def interrupt(self) -> None:
        """Interrupt the running statement; called by another thread, and returns at once."""
        if self._session is not None:
            self._session.cancel_call()
        if self._execution is not None:
            threading.Thread(target=self._interrupt, args=(self._execution,), daemon=True).start()

    def _start_again(self, request: RemoteRequest, call: Call) -> SparkBatches:
        """Start a statement, a second time in a new session if the one before is lost: then nothing was run."""
        deadline = time.monotonic() + request.timeout + LEEWAY
        try:
            return self._start(request, call, deadline)
        except SessionLost:
            self._close()
        try:
            return self._start(request, call, deadline)
        except SessionLost:
            raise unreachable("it loses its sessions") from None

    def _start(self, request: RemoteRequest, call: Call, deadline: float) -> SparkBatches:
        session = self._get_session(request.token, deadline)
        session.select_schema(deadline)
        relation = make_sql(request.sql, request.params)
        if request.max_rows is not None and request.is_query:
            relation = limit_rows(relation, request.max_rows + 1)
        self._execution = execution = Execution(session, request, relation, deadline)
        self._prove(session, request, deadline)
        call.check_cancelled()
        return SparkBatches(execution, call)

    def _get_session(self, token: str, deadline: float) -> Session:
        if self._session is not None and self._session.token != token:
            self._close()
        if self._session is None:
            self._session = Session(self._settings, token)
            try:
                self._session.open(deadline)
            except Exception:
                self._close()
                raise
        return self._session

    def _prove(self, session: Session, request: RemoteRequest, deadline: float) -> None:
        """Have the server read the statement as a query. What it has read so once is not sent again."""
        sql = request.sql
        if sql in self._queries or not request.is_query:
            return
        try:
            subquery = f"SELECT * FROM (\n{sql}\n) AS statement"  # noqa: S608
            check_types(session.analyze(make_sql(subquery, request.params), deadline))
        except UnsupportedType as error:
            raise CallError(BAD_REQUEST, str(error)) from None
        except CallError as error:
            if error.failure.kind != BAD_REQUEST:
                raise
            session.analyze(make_sql(sql, request.params), deadline)  # the error of the statement itself
            raise not_a_query() from None
        self._queries[sql] = None
        if len(self._queries) > MAX_PROVEN:
            self._queries.popitem(last=False)

    def _stop(self) -> None:
        execution, self._execution = self._execution, None
        if execution is None:
            return
        if execution.sent_at <= time.monotonic() and not execution.ended.is_set():
            thread = threading.Thread(target=self._interrupt, args=(execution,), daemon=True)
            thread.start()
            with suppress(CallError, SessionLost):  # until the server confirms it by an error
                for _ in execution.responses:
                    pass
            thread.join()
        execution.end()

    def _interrupt(self, execution: Execution) -> None:
        """Interrupt a statement until it ends.

        Spark loses an interrupt that comes while a statement starts: the tasks that it is about to start would run on.
        """
        session, limit = self._session, time.monotonic() + INTERRUPT_TIME
        execution.working.wait(max(0.0, min(execution.sent_at, time.monotonic()) + START_TIME - time.monotonic()))
        while session is not None and not execution.ended.is_set() and time.monotonic() < limit:
            with suppress(grpc.RpcError):
                if session.interrupt(execution.tag) and execution.detached:
                    break
            execution.ended.wait(INTERRUPT_PAUSE)
        execution.end()

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
