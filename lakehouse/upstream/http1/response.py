"""A response as it arrives, and the connection that it arrives on for as long as it is needed."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from math import inf
from types import TracebackType
from typing import Self
from warnings import warn

import trio

from lakehouse.core.errors import LakehouseError
from lakehouse.net.http1.fields import Headers
from lakehouse.upstream.connections.connection import ReadinessCallback, UpstreamConnection
from lakehouse.upstream.endpoint import UpstreamEndpoint, reason_of
from lakehouse.upstream.http1.response_parser import (
    IncompleteMessage,
    RemoteProtocolError,
    ResponseParser,
)
from lakehouse.upstream.http1.response_state import BODY, COMPLETE, IDLE, UPGRADED
from lakehouse.upstream.http1.upgraded_stream import UpgradedStream
from lakehouse.upstream.http1.upload import Upload


class StaleConnection(Exception):
    """The connection ended before a single byte of a response; the text completes "<upstream> ..."."""


class UpstreamResponse:
    """`status`, `reason`, `headers` (raw: case, order and duplicates kept) and a body that is read piece by piece.

    It holds its connection until the body's last byte has arrived, or it is closed; use it as a context manager. Any
    exception out of `receive`, a cancellation included, closes the connection at once. Interim responses are not shown.
    """

    __slots__ = (
        "_connection",
        "_endpoint",
        "_parser",
        "_release",
        "_silent_since",
        "headers",
        "http_version",
        "reason",
        "reused",
        "sent_at",
        "status",
        "upload",
    )

    def __init__(
        self,
        connection: UpstreamConnection,
        parser: ResponseParser,
        endpoint: UpstreamEndpoint,
        release: Callable[[UpstreamConnection, bool], None],
        upload: Upload | None,
        sent_at: float,
    ) -> None:
        """Made by `Upstream` once the request is on its way, since `sent_at` (trio's clock).

        `release` takes the connection back, and whether it can be used for another request; it is called exactly once.
        """
        self._connection: UpstreamConnection | None = connection
        self._parser = parser
        self._endpoint = endpoint
        self._release = release
        self.upload = upload
        self._silent_since: float | None = None  # since when a task waits for the next bytes of the body
        self.reused = connection.used
        self.sent_at = sent_at
        self.status = 0
        self.reason = b""
        self.http_version = "1.1"
        self.headers: Headers = []

    @property
    def trailers(self) -> Headers:
        """The fields behind a chunked body; complete once `receive` has returned b""."""
        return self._parser.trailers

    @property
    def waiting(self) -> bool:
        """True if some of the body has arrived, so that `receive` gives it without waiting."""
        return bool(self._parser.parts)

    @property
    def complete(self) -> bool:
        """True if the body has arrived and was given out to its end: `receive` returns b"" from now on."""
        return self._parser.state >= COMPLETE and not self._parser.parts

    async def read_head(self) -> None:
        """Wait for the final head. Raises `StaleConnection`, `ErrUpstream`, `ErrTimeout`, and closes the connection."""
        parser = self._parser
        try:
            while parser.state < BODY:
                if not self._try_parse():
                    await self.wait_readable()
        except BaseException:
            self._detach_connection(reusable=False)
            raise
        self.status = parser.status
        self.reason = parser.reason
        self.headers = parser.headers
        self.http_version = parser.http_version

    async def receive(self) -> bytes:
        """The next bytes of the body as they arrived, b"" at its end.

        Raises `ErrUpstream` (class `incomplete_stream`) if the body breaks off, `ErrTimeout` after `idle_timeout`
        without a piece, `trio.ClosedResourceError` if it was closed before its end. Not every call is a checkpoint,
        see `net.fairness`.
        """
        try:
            while (data := self.try_read()) is None:
                await self.wait_readable()
        except BaseException:
            self._detach_connection(reusable=False)
            raise
        return data

    def try_read(self) -> bytes | None:
        """`receive` without waiting: None when nothing has arrived; then await `wait_readable`. Raises the same."""
        parser = self._parser
        while not parser.parts:
            if parser.state >= COMPLETE:
                return b""
            if not self._try_parse():
                return None
        return parser.take()

    def wait_readable(self, deadline: float = inf) -> Awaitable[bool]:
        """Wait until `try_read` may have something to give; false once `deadline` has passed.

        The response stays open then, and when this is cancelled. Raises `ErrTimeout` and `trio.ClosedResourceError` as
        `receive` does.
        """
        connection = self._open_connection()
        head = self._parser.state >= BODY
        limit = self._endpoint.idle_timeout if head else self._endpoint.response_timeout
        if limit == inf:
            return connection.wait_readable(deadline)
        return self._wait_within(connection, limit, deadline)

    def try_read_all(self) -> bytes | None:
        """The rest of the body if all of it has arrived, else None. Never waits."""
        parser = self._parser
        return parser.take() if parser.state >= COMPLETE else None

    def subscribe(self, callback: ReadinessCallback, deadline: float = inf) -> Awaitable[bool] | None:
        """`wait_readable` with `callback` called meanwhile, see `UpstreamConnection.subscribe`.

        Returns None where that is impossible: also before the head has arrived, and with an `idle_timeout`.
        """
        if self._endpoint.idle_timeout != inf or self._parser.state < BODY:
            return None
        return self._open_connection().subscribe(callback, deadline)

    async def read(self, limit: int) -> bytes:
        """The rest of the body. Raises `ErrUpstream` if that is more than `limit` bytes, and what `receive` raises."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.receive():
            size += len(piece)
            if size > limit:
                self.close()
                raise self._endpoint.upstream_error(
                    f"answered more than {limit} bytes", status=self.status, retryable=False
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def upgrade(self) -> UpgradedStream:
        """The connection itself, after a 101: a trio stream, which begins with the bytes behind the head.

        It counts against the upstream's connections until it is closed. Raises `ValueError` for any other response.
        """
        connection = self._connection
        if connection is None or self._parser.state is not UPGRADED:
            raise ValueError(f"a response with status {self.status} does not hand its connection over")
        self._connection = None
        self._parser.detach()
        return UpgradedStream(connection, self._parser.leftover, self._release)

    def close(self) -> None:
        """Give the connection back if the response is complete and it can be used again, else close it. Never waits."""
        complete = self._parser.state >= COMPLETE and (self.upload is None or self.upload.complete)
        self._detach_connection(reusable=complete and self._parser.reusable)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._connection is not None:
            warn(f"a response of {self._endpoint.name} was never closed", ResourceWarning, stacklevel=2)
            self._detach_connection(reusable=False)

    def _detach_connection(self, *, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self.upload is not None and not self.upload.complete:
                connection.reset_at_close()
            self._parser.detach()
            connection.unsubscribe()
            self._release(connection, reusable)

    def _open_connection(self) -> UpstreamConnection:
        if self._connection is None:
            raise trio.ClosedResourceError("the response was closed before its end")
        return self._connection

    def _try_parse(self) -> bool:
        """Read once, and parse what arrived; false when nothing has."""
        parser = self._parser
        try:
            data = (self._connection or self._open_connection()).try_read()
            if data is None:
                return False
            if data:
                parser.feed(data)
            else:
                parser.end()
        except RemoteProtocolError as error:
            self._detach_connection(reusable=False)
            raise self._endpoint.upstream_error(f"answered {error}", status=self.status or None) from error
        except (IncompleteMessage, OSError) as error:
            self._detach_connection(reusable=False)
            raise self._incomplete_error(error) from error
        except BaseException:
            self._detach_connection(reusable=False)
            raise
        self._silent_since = None
        if parser.state is COMPLETE and (self.upload is None or self.upload.complete):
            self._detach_connection(reusable=parser.reusable)
        return True

    def _incomplete_error(self, error: IncompleteMessage | OSError) -> StaleConnection | LakehouseError:
        if isinstance(error, ssl.SSLEOFError):
            what = "ended the connection without TLS's goodbye"
        else:
            what = str(error) if isinstance(error, IncompleteMessage) else f"broke the connection: {reason_of(error)}"
        if self._parser.state is IDLE:
            return StaleConnection(f"{what} without an answer")
        if self._parser.state < BODY:
            return self._endpoint.upstream_error(what)
        return self._endpoint.incomplete_error(what, status=self.status)

    async def _wait_within(self, connection: UpstreamConnection, limit: float, caller_deadline: float) -> bool:
        """`wait_readable` within `limit`, or `ErrTimeout`; false at the caller's own deadline.

        While a body is being sent, the limit runs from its last piece that the upstream took. That moment moves without
        waking this task, so it is checked again at each deadline; the deadline is never later than the limit allows.
        """
        head = self._parser.state >= BODY
        since = self.sent_at
        if head:
            if self._silent_since is None:
                self._silent_since = trio.current_time()
            since = self._silent_since
        while True:
            deadline = self._last_progress(since) + limit
            if deadline == inf:
                # It is the caller's turn to send: check again when the limit could have passed at the earliest.
                deadline = trio.current_time() + limit
            if await connection.wait_readable(min(deadline, caller_deadline)):
                return True
            if caller_deadline <= trio.current_time():
                return False
            if self._last_progress(since) + limit <= trio.current_time():
                self._detach_connection(reusable=False)
                if head:
                    raise self._endpoint.timeout_error(
                        "idle", "sent nothing more of its answer", limit, status=self.status
                    )
                raise self._endpoint.timeout_error("response", "did not answer", limit)

    def _last_progress(self, since: float) -> float:
        return since if self.upload is None else max(since, self.upload.progress)
