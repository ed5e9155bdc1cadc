"""The reply of an engine's child as the result of a query, its time limit, and its failures as errors for clients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import inf

import msgspec
import trio

from lakehouse.core.errors import (
    ErrBadRequest,
    ErrForbidden,
    ErrTimeout,
    ErrUnavailable,
    ErrUnprocessable,
    ErrUpstream,
    LakehouseError,
)
from lakehouse.process.calls.rpc import Reply
from lakehouse.process.errors import CallFailed, ChildError, ChildExited, PoolUnavailable
from lakehouse.services.contracts.catalog import Column
from lakehouse.services.contracts.query_engine import ScanProgress
from lakehouse.services.engines.query_messages import (
    BAD_REQUEST,
    FORBIDDEN,
    TIMED_OUT,
    UNPROCESSABLE,
    UNREACHABLE,
    QueryEnd,
    QueryHeader,
    QueryWhole,
)

LEEWAY = 5.0
"""Seconds beyond the deadline for a consumer that takes its last piece slowly."""

ReadScanned = Callable[[], tuple[int, int]]
"""The rows and bytes that a query has read, for a child that cannot say."""

ReadWarnings = Callable[[], Sequence[str]]
"""What an engine warns about, at the end of a query."""


class TimeLimit:
    """The time limit of a query: a deadline, applied to every wait for an engine."""

    def __init__(self, wanted: float | None, longest: float) -> None:
        """`wanted` seconds of the request can only shorten the `longest`."""
        self.seconds = min(longest, inf if wanted is None else wanted)
        self.deadline = trio.current_time() + self.seconds
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
            f"the query did not end within {self.seconds:g} s (lake.query_timeout is {self._longest:g} s)",
            error_class="timeout",
        )


class _Result(ABC):
    """A running query, or one that has ended (contract `QueryResult`)."""

    columns: Sequence[Column]

    def __init__(self, columns: Iterable[tuple[str, str]], read: ReadScanned, warn: ReadWarnings) -> None:
        self.columns = tuple(Column(name=name, type=kind) for name, kind in columns)
        self._read = read
        self._warn = warn

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
        """What was read, at the end of the answer."""
        scanned = self._end.scanned
        rows, size = self._read() if scanned is None else scanned
        return ScanProgress(rows=rows, bytes=size)

    @property
    def warnings(self) -> Sequence[str]:
        """What the engine warns about, at the end of the answer."""
        return self._warn()


class WholeResult(_Result):
    """The result of a query whose answer came in one message."""

    def __init__(self, whole: QueryWhole, *, read: ReadScanned, warn: ReadWarnings = tuple) -> None:
        super().__init__(whole.columns, read, warn)
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


class StreamedResult(_Result):
    """The result of a query whose engine still works."""

    def __init__(
        self, reply: Reply, header: bytes, limit: TimeLimit, *, read: ReadScanned, warn: ReadWarnings = tuple
    ) -> None:
        super().__init__(msgspec.msgpack.decode(header, type=QueryHeader).columns, read, warn)
        self._reply = reply
        self._limit = limit

    async def __anext__(self) -> bytes:
        if (item := await next_item(self._reply, self._limit)) is None:
            raise StopAsyncIteration
        return item

    @property
    def _end(self) -> QueryEnd:
        return msgspec.msgpack.decode(self._reply.result, type=QueryEnd)


async def next_item(reply: Reply, limit: TimeLimit) -> bytes | None:
    """Receive the next item of a call, None at its end. Raises LakehouseError."""
    try:
        with limit.apply():
            return await reply.__anext__()
    except StopAsyncIteration:
        return None
    except ChildError as error:
        raise explain_failure(error) from None


_CLASSES: dict[str, type[LakehouseError]] = {
    BAD_REQUEST: ErrBadRequest,
    FORBIDDEN: ErrForbidden,
    UNPROCESSABLE: ErrUnprocessable,
    TIMED_OUT: ErrTimeout,
}


def explain_failure(error: ChildError) -> LakehouseError:
    """The failure of a call as an error for the client."""
    if isinstance(error, PoolUnavailable):
        return ErrUnavailable(
            f"all query engines are busy: {error}", retryable=True, retry_after=max(1.0, error.retry_after)
        )
    if isinstance(error, ChildExited):
        return ErrUnprocessable(f"the engine ended while it ran this statement, and was replaced: {error}")
    if isinstance(error, CallFailed):
        if error.kind == UNREACHABLE:
            return ErrUpstream(str(error), error_class="upstream_error", retryable=True)
        details = msgspec.json.decode(error.details, type=dict[str, object] | None)
        return _CLASSES.get(error.kind, ErrUnprocessable)(str(error), details=details)
    return ErrUnavailable(str(error), retryable=True, retry_after=1.0)
