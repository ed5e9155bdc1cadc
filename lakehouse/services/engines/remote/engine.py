"""The contract `QueryEngine` for a server that runs the statements: a pool of children writes the answers.

A query has a child from its start to its end, so the size of the pool bounds the statements on the server, and others
wait as they do for the embedded engine. A query that is cancelled is cancelled on the server: by the child, which is
killed if that takes too long, or by the feed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from uuid import uuid4

import msgspec
import trio

from lakehouse.core.errors import ErrBadRequest, ErrNotInstalled, LakehouseError
from lakehouse.process.calls.pool import ChildPool
from lakehouse.process.calls.rpc import Reply
from lakehouse.process.errors import ChildError
from lakehouse.services.contracts.query_engine import Query, QueryResult, ignore_start
from lakehouse.services.contracts.values import JsonValue
from lakehouse.services.engines.query_messages import QueryWhole
from lakehouse.services.engines.remote.dialects import Dialect
from lakehouse.services.engines.remote.feed import Feed, FeedSource
from lakehouse.services.engines.remote.secrets import Secrets, SecretSource
from lakehouse.services.engines.remote.statement_check import Checked, check_statement
from lakehouse.services.engines.remote_messages import RemoteRequest
from lakehouse.services.engines.replies import (
    LEEWAY,
    StreamedResult,
    TimeLimit,
    WholeResult,
    explain_failure,
    next_item,
)

CHECKED_HERE = 4096
"""Characters of a statement that is checked without a thread, in some milliseconds."""


class RemoteQueryEngine:
    """One engine (contract `QueryEngine`). `pool` is for metrics and checks."""

    def __init__(
        self,
        pool: ChildPool,
        dialect: Dialect,
        feeds: FeedSource,
        secrets: SecretSource,
        *,
        timeout: float,
        absent: str = "",
    ) -> None:
        """`absent` says what has to be installed before a child can start."""
        self.pool = pool
        self._absent = absent
        self._dialect = dialect
        self._feeds = feeds
        self._secrets = secrets
        self._timeout = timeout
        self._checks = trio.CapacityLimiter(1)

    def run(
        self, query: Query, *, on_start: Callable[[], None] = ignore_start
    ) -> AbstractAsyncContextManager[QueryResult]:
        """Start a query for the length of a block."""
        return self._run(query, on_start)

    @asynccontextmanager
    async def _run(self, query: Query, on_start: Callable[[], None]) -> AsyncIterator[QueryResult]:
        """Send the statement to a child. The consumer has `LEEWAY` to take the last piece before the deadline."""
        if self._absent:
            raise ErrNotInstalled(self._absent)
        limit = TimeLimit(query.timeout, self._timeout)
        secrets = self._secrets.load()
        with limit.apply():
            request = await self._make_request(query, limit, secrets)
        try:
            with trio.CancelScope(deadline=limit.deadline + LEEWAY) as scope:
                async with self._feeds.open(request) as feed, self._open_reply(request, feed, limit) as reply:
                    on_start()
                    header = await next_item(reply, limit)
                    if header is None:
                        whole = msgspec.msgpack.decode(reply.result, type=QueryWhole)
                        yield WholeResult(whole, read=feed.read_scanned, warn=feed.read_warnings)
                    else:
                        yield StreamedResult(reply, header, limit, read=feed.read_scanned, warn=feed.read_warnings)
        except LakehouseError as error:
            error.message = secrets.redact(error.message)
            raise
        if scope.cancelled_caught:
            raise limit.make_error()

    @asynccontextmanager
    async def _open_reply(self, request: RemoteRequest, feed: Feed, limit: TimeLimit) -> AsyncIterator[Reply]:
        async with AsyncExitStack() as stack:
            try:
                with limit.apply():
                    call = self.pool.stream(msgspec.json.encode(request), feed.inputs)
                    reply = await stack.enter_async_context(call)
            except ChildError as error:
                raise explain_failure(error) from None
            yield reply

    async def _make_request(self, query: Query, limit: TimeLimit, secrets: Secrets) -> RemoteRequest:
        """Check the query, and make the message for a child."""
        if query.snapshot_id is not None:
            raise ErrBadRequest(
                f"`snapshot` is for the engine duckdb: on {self._dialect.engine}, write {self._dialect.past}",
                field="snapshot",
            )
        checked = await self._check(query.sql)
        return RemoteRequest(
            sql=checked.sql,
            is_query=checked.is_query,
            tag=f"lakehouse-{uuid4().hex}",
            timeout=limit.seconds,
            params=self._read_parameters(query.params),
            format=query.format,
            max_rows=query.max_rows,
            password=secrets.password,
            token=secrets.token,
        )

    async def _check(self, sql: str) -> Checked:
        """Check a statement, long ones in a thread, one after another. A check that nobody waits for ends by itself."""
        if len(sql) <= CHECKED_HERE:
            return check_statement(sql, self._dialect)
        return await trio.to_thread.run_sync(
            check_statement, sql, self._dialect, limiter=self._checks, abandon_on_cancel=True
        )

    def _read_parameters(self, params: Iterable[JsonValue] | dict[str, JsonValue]) -> list[object] | dict[str, object]:
        if not isinstance(params, dict):
            return list(params)
        if not self._dialect.named_parameters:
            raise ErrBadRequest(
                f"`params` must be an array: parameters of {self._dialect.engine} have positions, written as ?",
                field="params",
            )
        return dict(params)
