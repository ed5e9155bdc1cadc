"""An answer as it comes in, and the connection that it comes in on for as long as there is need of it."""

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
from lakehouse.upstream.connection import ReadinessCallback, UpstreamConnection
from lakehouse.upstream.endpoint import Endpoint, reason_of
from lakehouse.upstream.http1 import IncompleteMessage, RemoteProtocolError, ResponseParser
from lakehouse.upstream.upgraded_stream import UpgradedStream
from lakehouse.upstream.upload import Upload


class StaleConnection(Exception):
    """The connection ended before a single byte of an answer; the text says how, fit to follow the upstream's name."""


class UpstreamResponse:
    """`status`, `reason`, `headers` (raw: case, order and duplicates kept) and a body that is read piece by piece.

    It holds its connection until the body's last byte has arrived, or it is closed; use it as a context manager. Any
    exception out of `receive`, a cancellation included, closes the connection at once. Interim answers are not shown.
    """

    __slots__ = (
        "_connection",
        "_parser",
        "_peer",
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
        peer: Endpoint,
        release: Callable[[UpstreamConnection, bool], None],
        upload: Upload | None,
        sent_at: float,
    ) -> None:
        """Made by `Upstream` once the request is on its way, since `sent_at` (trio's clock). `release` takes the
        connection back, and whether it is good for another request; it is called exactly once."""
        self._connection: UpstreamConnection | None = connection
        self._parser = parser
        self._peer = peer
        self._release = release
        self.upload = upload
        self._silent_since: float | None = None  # since when somebody waits for the next bytes
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
        """Whether some of the body has arrived, so that `receive` gives it without waiting."""
        return bool(self._parser.parts)

    @property
    def complete(self) -> bool:
        """Whether all of the body has arrived and was given out: `receive` has nothing but b"" to say."""
        return self._parser.done and not self._parser.parts

    async def read_head(self) -> None:
        """Wait for the final head. Raises `StaleConnection`, `ErrUpstream`, `ErrTimeout`; the connection is closed then."""
        parser = self._parser
        try:
            while not parser.head:
                if not self._read():
                    await self.wait_readable()
        except BaseException:
            self._detach_connection(False)
            raise
        self.status = parser.status
        self.reason = parser.reason
        self.headers = parser.headers
        self.http_version = parser.http_version

    async def receive(self) -> bytes:
        """The next bytes of the body as they arrived, b"" at its end.

        Raises `ErrUpstream` (class `incomplete_stream`) if the body breaks off, `ErrTimeout` after `idle_timeout`
        without a piece, `trio.ClosedResourceError` if it was closed before its end. Not every call is a checkpoint:
        see `connection.FAIRNESS_BUDGET` for what can go by without one.
        """
        try:
            while (data := self.take()) is None:
                await self.wait_readable()
        except BaseException:
            self._detach_connection(False)
            raise
        return data

    def take(self) -> bytes | None:
        """`receive` without waiting: None when there is nothing yet; then await `wait_readable`. Raises the same."""
        parser = self._parser
        while not parser.parts:
            if parser.done:
                return b""
            if not self._read():
                return None
        return parser.take()

    def wait_readable(self, deadline: float = inf) -> Awaitable[bool]:
        """Wait until `take` may have something to give; false once `deadline` has passed, and the answer stays open
        then, as it does when this is cancelled. Raises `ErrTimeout` and `trio.ClosedResourceError` as `receive`."""
        connection = self._open()
        limit = self._peer.idle_timeout if self._parser.head else self._peer.response_timeout
        return (
            connection.wait_readable(deadline) if limit == inf else self._arrival_in_time(connection, limit, deadline)
        )

    def take_whole(self) -> bytes | None:
        """The rest of the body if all of it has arrived, else None. Never waits."""
        parser = self._parser
        return parser.take() if parser.done else None

    def subscribe(self, look: ReadinessCallback, deadline: float = inf) -> Awaitable[bool] | None:
        """`wait_readable`, but `look` is called meanwhile, see `UpstreamConnection.subscribe`; None where that cannot be done."""
        limited = self._peer.idle_timeout != inf or not self._parser.head
        return None if limited else self._open().subscribe(look, deadline)

    async def read(self, limit: int) -> bytes:
        """The rest of the body. Raises `ErrUpstream` if that is more than `limit` bytes, and what `receive` raises."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.receive():
            size += len(piece)
            if size > limit:
                self.close()
                raise self._peer.upstream_error(
                    f"answered more than {limit} bytes", status=self.status, retryable=False
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def upgrade(self) -> UpgradedStream:
        """The connection itself, after a 101: a trio stream, which begins with what came behind the head.

        It counts against the upstream's connections until it is closed. Raises `ValueError` for any other answer.
        """
        connection = self._connection
        if connection is None or not self._parser.upgraded:
            raise ValueError(f"an answer with status {self.status} does not hand its connection over")
        self._connection = None
        self._parser.detach()
        return UpgradedStream(connection, self._parser.leftover, self._release)

    def close(self) -> None:
        """Give the connection back if the answer is whole and it is good for another, else close it. Never waits."""
        upload = self.upload
        self._detach_connection(self._parser.done and self._parser.reusable and (upload is None or upload.complete))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._connection is not None:
            warn(f"an answer of {self._peer.name} was never closed", ResourceWarning, stacklevel=2)
            self._detach_connection(False)

    def _detach_connection(self, keep: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self.upload is not None and not self.upload.complete:
                connection.reset_at_close()
            self._parser.detach()
            connection.unsubscribe()
            self._release(connection, keep)

    def _open(self) -> UpstreamConnection:
        if self._connection is None:
            raise trio.ClosedResourceError("the answer was closed before its end")
        return self._connection

    def _read(self) -> bool:
        """Read once, and take it in; false when there is nothing yet."""
        connection, parser = self._connection, self._parser
        try:
            data = (connection or self._open()).receive_at_once()
            if data is None:
                return False
            if data:
                parser.feed(data)
            else:
                parser.end()
        except RemoteProtocolError as garbage:
            self._detach_connection(False)
            raise self._peer.upstream_error(f"answered {garbage}", status=self.status or None) from garbage
        except (IncompleteMessage, OSError) as error:
            self._detach_connection(False)
            raise self._broken_off(error) from error
        except BaseException:
            self._detach_connection(False)
            raise
        self._silent_since = None
        if parser.done and not parser.upgraded and (self.upload is None or self.upload.complete):
            self._detach_connection(parser.reusable)
        return True

    def _broken_off(self, error: IncompleteMessage | OSError) -> StaleConnection | LakehouseError:
        if isinstance(error, ssl.SSLEOFError):
            what = "ended the connection without TLS's goodbye"
        else:
            what = str(error) if isinstance(error, IncompleteMessage) else f"broke the connection: {reason_of(error)}"
        if not self._parser.begun:
            return StaleConnection(f"{what} without an answer")
        if not self._parser.head:
            return self._peer.upstream_error(what)
        return self._peer.incomplete_error(what, status=self.status)

    async def _arrival_in_time(self, connection: UpstreamConnection, limit: float, caller_deadline: float) -> bool:
        """`wait_readable` within `limit`, or `ErrTimeout`; false at the caller's own deadline.

        While a body goes up the limit runs from the last of it that was taken. That moment moves without anybody
        waking us, so a deadline that comes is looked at again; it is never later than the limit allows.
        """
        head = self._parser.head
        since = self.sent_at
        if head:
            if self._silent_since is None:
                self._silent_since = trio.current_time()
            since = self._silent_since
        while True:
            deadline = self._last_progress(since) + limit
            if deadline == inf:
                # The caller's turn to send: look again when the limit could have passed at the earliest.
                deadline = trio.current_time() + limit
            if await connection.wait_readable(min(deadline, caller_deadline)):
                return True
            if caller_deadline <= trio.current_time():
                return False
            if self._last_progress(since) + limit <= trio.current_time():
                self._detach_connection(False)
                if head:
                    raise self._peer.timeout_error("idle", "sent nothing more of its answer", limit, status=self.status)
                raise self._peer.timeout_error("response", "did not answer", limit)

    def _last_progress(self, since: float) -> float:
        return since if self.upload is None else max(since, self.upload.progress)
