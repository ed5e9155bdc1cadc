"""The query engine: SQL over the tables of the lake, in a pool of sandboxed DuckDB children.

A statement is checked in a child, which says what tables it reads; the parent plans them (`table_resolver`), and a
child runs the statement. What a statement reads is remembered, so the next time one call is enough.

A query that is cancelled is interrupted, and an engine that does not obey within `RESET_TIMEOUT` is killed. An engine
that ran out of memory or crashed is replaced.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from math import inf

import msgspec
import trio

from lakehouse.config import LakeTable
from lakehouse.core.errors import (
    ErrBadRequest,
    ErrForbidden,
    ErrTimeout,
    ErrUnavailable,
    ErrUnprocessable,
    LakehouseError,
)
from lakehouse.process.calls.pool import ChildPool, open_pool
from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.process.calls.rpc import Reply
from lakehouse.process.errors import CallFailed, ChildError, ChildExited, PoolUnavailable
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.query_engine import Query, QueryResult, ScanProgress
from lakehouse.services.contracts.tables import Tables
from lakehouse.services.engines.hardened import MIB, EngineKind, EngineStarter, make_engine_spec
from lakehouse.services.engines.query_messages import (
    BAD_REQUEST,
    FORBIDDEN,
    PARQUET_PIPE,
    UNPROCESSABLE,
    QueryEnd,
    QueryHeader,
    QueryRequest,
    QueryWhole,
    StatementNeeds,
)
from lakehouse.services.engines.table_resolver import ResolvedTables, TableResolver
from lakehouse.services.lake.directory import LakeDirectory
from lakehouse.services.lake.memory import EngineShare, share_memory
from lakehouse.telemetry.gauges import Gauge
from lakehouse.telemetry.metric_store import Family

TARGET = "lakehouse.services.engines.query_child.run:run"
RESET_TIMEOUT = 0.004
"""Seconds in which an interrupted engine has to stop. Most operators stop within 3 ms, the others need up to 200 ms. A
new engine takes 0.15 s, when the next query comes."""
CPU_SLACK = 10
"""Seconds of processor time that an engine may need beyond its deadline, before the kernel ends it."""
LEEWAY = 5.0
"""Seconds beyond the deadline for a consumer that takes its last piece slowly."""
MAX_WAITING, QUEUE_TIMEOUT = 64, 10.0
MAX_SPILL = 64 * 1024 * MIB
"""Bytes of temporary files of one engine, if the disk has twice as much free."""
MAX_REMEMBERED = 1024
MAX_REMEMBERED_SIZE = 16 * 1024
"""Characters of a statement up to which its needs are remembered."""

_ENGINES = Family("queryd_engines", "gauge", "Query engines that run.", ("state",))
_WAITING = Family("queryd_waiting", "gauge", "Statements that wait for an engine.")


@asynccontextmanager
async def open_query_engine(
    directory: LakeDirectory, tables: Tables, lake: LakeTable
) -> AsyncIterator[DuckdbQueryEngine]:
    """Open the query engine for the length of the block. Children start with the first query."""
    share = share_memory(lake).query
    spec = make_engine_spec(
        make_kind(share, max_spill=choose_spill(directory, share.engines)),
        directory=directory.path,
        settings={"cpu_seconds": int(lake.query_timeout * share.threads) + CPU_SLACK},
    )
    policy = PoolPolicy(
        size=share.engines, max_waiting=MAX_WAITING, queue_timeout=QUEUE_TIMEOUT, reset_timeout=RESET_TIMEOUT
    )
    async with open_pool(spec, policy, start=EngineStarter(directory.open_spill, pipes=(PARQUET_PIPE,))) as pool:
        yield DuckdbQueryEngine(pool, TableResolver(tables), timeout=lake.query_timeout)


def make_kind(share: EngineShare, *, max_spill: int) -> EngineKind:
    """Describe the engines: they read the tables and write nothing but temporary files."""
    return EngineKind(
        name="the query engine",
        target=TARGET,
        memory=share.memory,
        threads=share.threads,
        read=("datasets",),
        max_spill=max_spill,
        options=(("parquet_metadata_cache", "true"),),
    )


def choose_spill(directory: LakeDirectory, engines: int) -> int:
    """The size of an engine's temporary files: all together leave half of the free disk."""
    return max(64 * MIB, min(MAX_SPILL, shutil.disk_usage(directory.path).free // 2 // engines))


def _do_nothing() -> None:
    """The caller does not want to know when the query starts."""


class DuckdbQueryEngine:
    """The query engine (contract `QueryEngine`). `pool` is for metrics and checks."""

    def __init__(self, pool: ChildPool, resolver: TableResolver, *, timeout: float) -> None:
        self.pool = pool
        self._resolver = resolver
        self._timeout = timeout
        self._needs: OrderedDict[str, StatementNeeds] = OrderedDict()

    def run(
        self, query: Query, *, on_start: Callable[[], None] = _do_nothing
    ) -> AbstractAsyncContextManager[QueryResult]:
        """Start a query for the length of a block."""
        return self._run(query, on_start)

    def gauges(self) -> Iterable[Gauge]:
        """The gauges of the pool."""
        pool = self.pool
        states = lambda: [(("busy",), pool.in_use), (("idle",), pool.idle)]  # noqa: E731
        return (Gauge(_ENGINES, states), Gauge(_WAITING, lambda: [((), pool.waiting)]))

    @asynccontextmanager
    async def _run(self, query: Query, on_start: Callable[[], None]) -> AsyncIterator[QueryResult]:
        """Send the statement to an engine; a second time, if the first one says that it needs tables.

        The consumer has `LEEWAY` to take the last piece before the deadline. Then the block is cancelled.
        """
        limit = _TimeLimit(min(self._timeout, inf if query.timeout is None else query.timeout), self._timeout)
        with trio.CancelScope(deadline=limit.deadline + LEEWAY) as scope:
            needs = self._recall(query.sql)
            while True:
                with limit.apply():
                    resolved = None if needs is None else await self._resolver.resolve(needs, query.snapshot_id)
                async with self._open_reply(make_request(query, resolved), limit) as reply:
                    on_start()
                    if (header := await _next_item(reply, limit)) is not None:
                        yield _StreamedResult(reply, header, resolved, limit)
                        break
                outcome = msgspec.msgpack.decode(reply.result, type=StatementNeeds | QueryWhole)
                if isinstance(outcome, QueryWhole):
                    yield _WholeResult(outcome, resolved)
                    break
                needs = outcome
                self._remember(query.sql, needs)
        if scope.cancelled_caught:
            raise limit.make_error()

    @asynccontextmanager
    async def _open_reply(self, request: QueryRequest, limit: _TimeLimit) -> AsyncIterator[Reply]:
        async with AsyncExitStack() as stack:
            try:
                with limit.apply():
                    reply = await stack.enter_async_context(self.pool.stream(msgspec.msgpack.encode(request)))
            except ChildError as error:
                raise explain_failure(error) from None
            yield reply

    def _recall(self, sql: str) -> StatementNeeds | None:
        if (needs := self._needs.get(sql)) is not None:
            self._needs.move_to_end(sql)
        return needs

    def _remember(self, sql: str, needs: StatementNeeds) -> None:
        if len(sql) <= MAX_REMEMBERED_SIZE:
            self._needs[sql] = needs
            if len(self._needs) > MAX_REMEMBERED:
                self._needs.popitem(last=False)


class _TimeLimit:
    """The time limit of a query: a deadline, applied to every wait for an engine."""

    def __init__(self, seconds: float, longest: float) -> None:
        self.deadline = trio.current_time() + seconds
        self._seconds = seconds
        self._longest = longest

    @contextmanager
    def apply(self) -> Iterator[None]:
        """Cancel the block at the deadline. Raises ErrTimeout."""
        with trio.CancelScope(deadline=self.deadline) as scope:
            yield
        if scope.cancelled_caught:
            raise self.make_error()

    def make_error(self) -> ErrTimeout:
        """The error after the deadline."""
        return ErrTimeout(
            f"the query did not end within {self._seconds:g} s (lake.query_timeout is {self._longest:g} s)",
            error_class="timeout",
        )


class _Result(ABC):
    """A running query, or one that has ended (contract `QueryResult`)."""

    columns: Sequence[Column]

    def __init__(self, columns: Iterable[tuple[str, str]], resolved: ResolvedTables | None) -> None:
        self.columns = tuple(Column(name=name, type=kind) for name, kind in columns)
        self._resolved = resolved

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    @abstractmethod
    async def __anext__(self) -> bytes:
        """Receive the next piece."""

    @property
    @abstractmethod
    def _end(self) -> QueryEnd: ...

    @property
    def row_count(self) -> int:
        """The rows of the answer, at its end."""
        return self._end.rows

    @property
    def truncated(self) -> bool:
        """Whether the limit cut the answer, at its end."""
        return self._end.truncated

    @property
    def scanned(self) -> ScanProgress:
        """What was read, at the end of the answer. If the engine cannot say: all files of the tables."""
        scanned = self._end.scanned
        if scanned is None and (resolved := self._resolved) is not None:
            scanned = resolved.rows, resolved.bytes
        rows, size = scanned or (0, 0)
        return ScanProgress(rows=rows, bytes=size)


class _WholeResult(_Result):
    """The result of a query whose answer came in one message."""

    def __init__(self, whole: QueryWhole, resolved: ResolvedTables | None) -> None:
        super().__init__(whole.columns, resolved)
        self._whole: QueryWhole = whole
        self._data: bytes | None = whole.data

    async def __anext__(self) -> bytes:
        data, self._data = self._data, None
        if not data:
            raise StopAsyncIteration
        return data

    @property
    def _end(self) -> QueryEnd:
        return self._whole.end


class _StreamedResult(_Result):
    """The result of a query whose engine still works."""

    def __init__(self, reply: Reply, header: bytes, resolved: ResolvedTables | None, limit: _TimeLimit) -> None:
        super().__init__(msgspec.msgpack.decode(header, type=QueryHeader).columns, resolved)
        self._reply = reply
        self._limit = limit

    async def __anext__(self) -> bytes:
        if (item := await _next_item(self._reply, self._limit)) is None:
            raise StopAsyncIteration
        return item

    @property
    def _end(self) -> QueryEnd:
        return msgspec.msgpack.decode(self._reply.result, type=QueryEnd)


async def _next_item(reply: Reply, limit: _TimeLimit) -> bytes | None:
    """Receive the next item of a call, None at its end. Raises LakehouseError."""
    try:
        with limit.apply():
            return await reply.__anext__()
    except StopAsyncIteration:
        return None
    except ChildError as error:
        raise explain_failure(error) from None


def make_request(query: Query, resolved: ResolvedTables | None) -> QueryRequest:
    """The message for a child."""
    return QueryRequest(
        sql=query.sql,
        params=msgspec.json.encode(query.params),
        format=query.format,
        max_rows=query.max_rows,
        check_only=resolved is None and query.snapshot_id is not None,
        resolved=resolved is not None,
        tables=() if resolved is None else resolved.sources,
        listing=None if resolved is None else resolved.listing,
    )


def explain_failure(error: ChildError) -> LakehouseError:
    """The failure of a call as an error for the client."""
    if isinstance(error, PoolUnavailable):
        return ErrUnavailable(
            f"all query engines are busy: {error}", retryable=True, retry_after=max(1.0, error.retry_after)
        )
    if isinstance(error, ChildExited):
        return ErrUnprocessable(f"the engine ended while it ran this statement, and was replaced: {error}")
    if isinstance(error, CallFailed):
        details = msgspec.json.decode(error.details, type=dict[str, object] | None)
        classes = {BAD_REQUEST: ErrBadRequest, FORBIDDEN: ErrForbidden, UNPROCESSABLE: ErrUnprocessable}
        return classes.get(error.kind, ErrUnprocessable)(str(error), details=details)
    return ErrUnavailable(str(error), retryable=True, retry_after=1.0)
