"""The query engine: SQL over the tables of the lake, in a pool of sandboxed DuckDB children.

A statement is checked in a child, which says what tables it reads; the parent plans them (`table_resolver`), and a
child runs the statement. What a statement reads is remembered, so the next time one call is enough.

A query that is cancelled is interrupted, and an engine that does not obey within `RESET_TIMEOUT` is killed. An engine
that ran out of memory or crashed is replaced.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from functools import partial

import msgspec
import trio

from lakehouse.config import LakeTable
from lakehouse.process.calls.pool import ChildPool, open_pool
from lakehouse.process.calls.pool_policy import PoolPolicy
from lakehouse.process.calls.rpc import Reply
from lakehouse.process.errors import ChildError
from lakehouse.services.contracts.query_engine import Query, QueryResult, ignore_start
from lakehouse.services.contracts.tables import IN_FOLDER, DataFile, LocalFiles, ReadableTables
from lakehouse.services.engines.hardened import MIB, EngineKind, EngineStarter, make_engine_spec
from lakehouse.services.engines.query_messages import PARQUET_PIPE, QueryRequest, QueryWhole, StatementNeeds
from lakehouse.services.engines.replies import (
    LEEWAY,
    StreamedResult,
    TimeLimit,
    WholeResult,
    explain_failure,
    next_item,
)
from lakehouse.services.engines.table_resolver import FreezeTables, ResolvedTables, TableResolver
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
MAX_WAITING, QUEUE_TIMEOUT = 64, 10.0
MAX_SPILL = 64 * 1024 * MIB
"""Bytes of temporary files of one engine, if the disk has twice as much free."""
MAX_REMEMBERED = 1024
MAX_REMEMBERED_SIZE = 16 * 1024
"""Characters of a statement up to which its needs are remembered."""

HoldFiles = Callable[[], AbstractContextManager[None]]

_ENGINES = Family("queryd_engines", "gauge", "Query engines that run.", ("state",))
_WAITING = Family("queryd_waiting", "gauge", "Statements that wait for an engine.")


@asynccontextmanager
async def open_query_engine(
    directory: LakeDirectory,
    tables: ReadableTables,
    lake: LakeTable,
    *,
    hold_files: HoldFiles = nullcontext,
    freeze_system_tables: FreezeTables = nullcontext,
    local_files: LocalFiles = IN_FOLDER,
) -> AsyncIterator[DuckdbQueryEngine]:
    """Open the query engine for the length of the block. Children start with the first query.

    Each query runs in a block of `hold_files`, in which no file is deleted that it may read. Its system tables are
    planned in a block of `freeze_system_tables`, in which they get no rows. `local_files` brings what it reads here.
    """
    share = share_memory(lake).query
    spec = make_engine_spec(
        make_kind(share, max_spill=choose_spill(directory, share.engines)),
        directory=directory.path,
        settings={"cpu_seconds": int(lake.query_timeout * share.threads) + CPU_SLACK},
    )
    policy = PoolPolicy(
        size=share.engines, max_waiting=MAX_WAITING, queue_timeout=QUEUE_TIMEOUT, reset_timeout=RESET_TIMEOUT
    )
    resolver = TableResolver(tables, freeze_system_tables=freeze_system_tables)
    async with open_pool(spec, policy, start=EngineStarter(directory.open_spill, pipes=(PARQUET_PIPE,))) as pool:
        yield DuckdbQueryEngine(
            pool, resolver, timeout=lake.query_timeout, hold_files=hold_files, local_files=local_files
        )


def make_kind(share: EngineShare, *, max_spill: int) -> EngineKind:
    """Describe the engines: they read the tables and write nothing but temporary files."""
    return EngineKind(
        name="the query engine",
        target=TARGET,
        memory=share.memory,
        threads=share.threads,
        read=("datasets", "system", "cache"),
        max_spill=max_spill,
        options=(("parquet_metadata_cache", "true"),),
    )


def choose_spill(directory: LakeDirectory, engines: int) -> int:
    """The size of an engine's temporary files: all together leave half of the free disk."""
    return max(64 * MIB, min(MAX_SPILL, shutil.disk_usage(directory.path).free // 2 // engines))


class DuckdbQueryEngine:
    """The query engine (contract `QueryEngine`). `pool` is for metrics and checks."""

    def __init__(
        self,
        pool: ChildPool,
        resolver: TableResolver,
        *,
        timeout: float,
        hold_files: HoldFiles = nullcontext,
        local_files: LocalFiles = IN_FOLDER,
    ) -> None:
        self.pool = pool
        self._local_files = local_files
        self._hold_files = hold_files
        self._resolver = resolver
        self._timeout = timeout
        self._needs: OrderedDict[str, StatementNeeds] = OrderedDict()

    def run(
        self, query: Query, *, on_start: Callable[[], None] = ignore_start
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
        limit = TimeLimit(query.timeout, self._timeout)
        with self._hold_files(), trio.CancelScope(deadline=limit.deadline + LEEWAY) as scope:
            needs = self._recall(query.sql)
            while True:
                with limit.apply():
                    resolved = None if needs is None else await self._resolver.resolve(needs, query.snapshot_id)
                read = partial(_sum_files, resolved)
                async with self._hold_local(resolved, limit), self._open_reply(query, resolved, limit) as reply:
                    on_start()
                    if (header := await next_item(reply, limit)) is not None:
                        yield StreamedResult(reply, header, limit, read=read)
                        break
                outcome = msgspec.msgpack.decode(reply.result, type=StatementNeeds | QueryWhole)
                if isinstance(outcome, QueryWhole):
                    yield WholeResult(outcome, read=read)
                    break
                needs = outcome
                self._remember(query.sql, needs)
        if scope.cancelled_caught:
            raise limit.make_error()

    def _hold_local(self, resolved: ResolvedTables | None, limit: TimeLimit) -> AbstractAsyncContextManager[None]:
        """Have the data files that the statement reads on the local disk, within its time limit."""
        if resolved is None or self._local_files is IN_FOLDER:
            return nullcontext()
        return self._fetch(resolved.files, limit)

    @asynccontextmanager
    async def _fetch(self, files: Iterable[DataFile], limit: TimeLimit) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            with limit.apply():
                await stack.enter_async_context(self._local_files.hold(files))
            yield

    @asynccontextmanager
    async def _open_reply(
        self, query: Query, resolved: ResolvedTables | None, limit: TimeLimit
    ) -> AsyncIterator[Reply]:
        request = make_request(query, resolved)
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


def _sum_files(resolved: ResolvedTables | None) -> tuple[int, int]:
    """The rows and bytes of all files of the tables, where the engine cannot say what it has read."""
    return (0, 0) if resolved is None else (resolved.rows, resolved.bytes)
