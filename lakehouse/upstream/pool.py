"""An upstream: where it is, the connections to it, and who may use them."""

from __future__ import annotations

import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf

import msgspec
import trio

from lakehouse.config.urls import BaseURL
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrUnavailable
from lakehouse.net.fairness import OPERATIONS
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.connect import connect, default_context
from lakehouse.upstream.connection import READ_WINDOW, UpstreamConnection
from lakehouse.upstream.endpoint import Endpoint, reason_of, split_base_url
from lakehouse.upstream.http1 import CHUNKED, IDEMPOTENT, ResponseParser, content_length, request_head
from lakehouse.upstream.limiter import Limiter
from lakehouse.upstream.proxy import Proxy
from lakehouse.upstream.response import StaleConnection, UpstreamResponse
from lakehouse.upstream.upload import RequestBody, Upload, run_upload

UPLOAD_IDLE = 1.0
"""Seconds that a connection may have been idle to be used for a body that streams. Such a request cannot be sent a
second time, so it does not take the risk of meeting an upstream's farewell; a new connection costs a round trip."""


_KEYED = re.compile(rb"\nidempotency-key: *[^ \t\r\n]")
"""An `Idempotency-Key` with a value, in a head in lower case."""


class _Call(msgspec.Struct, kw_only=True):
    """A request, ready to be sent: `wire` is its head, and its body if that is bytes."""

    method: bytes
    wire: bytes
    body: RequestBody | None
    upgrade: bool
    context: RequestContext | None
    repeatable: bool
    """Whether it may be sent again after bytes of it have been written: its method is idempotent, or it carries an
    `Idempotency-Key`, and its body is still here. How soon the connection ended makes no difference: a server may have
    read the request and acted on it before it closed."""


class Upstream:
    """One base URL and the connections to it: at most `max_connections`, idle ones used last in, first out.

    It needs no nursery and opens nothing before it is asked. Acquiring and giving back take constant time. Expired idle
    connections are closed when the next request comes by. All limits are seconds; `Endpoint` says what they run from.
    Requests beyond `max_connections` wait in a queue of at most `max_waiting`, in order, and leave it when cancelled.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        max_connections: int = 256,
        max_waiting: int = 1024,
        connect_timeout: float = 5.0,
        response_timeout: float = inf,
        idle_timeout: float = inf,
        keepalive_expiry: float = 60.0,
        at_once: int = OPERATIONS * READ_WINDOW,
        ssl_context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        """`ssl_context` replaces the default, which verifies certificates as httpx does. `reactor` keeps the limits of
        answers at less cost than cancel scopes, as long as somebody runs it. `at_once` is how many bytes one connection
        may give before the others are let run. The `authorization` of a `BaseURL` is sent with each request that has
        no such header. Connections are tunnels through `proxy`, if that is given.

        Raises `ValueError` for a base URL that is neither `http(s)://host[:port][/path]` nor `unix:/path`.
        """
        self.name = name
        address = split_base_url(base_url)
        self.host, self.base_path = address.host, address.path
        self._authorization = base_url.authorization.encode() if isinstance(base_url, BaseURL) else b""
        self.peer = Endpoint(
            name=name,
            scheme=address.scheme,
            hostname=address.hostname,
            port=address.port,
            socket_path=address.socket_path,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
            idle_timeout=idle_timeout,
            proxy=proxy,
        )
        self._limiter = Limiter(name, max_connections, max_waiting)
        self._keepalive_expiry = keepalive_expiry
        self._ssl_context = ssl_context
        self._deadlines = reactor
        self._read_size = min(at_once, READ_WINDOW)
        self._allowance = at_once // self._read_size
        self._window: memoryview | None = None  # made with the first connection
        self._idle: deque[UpstreamConnection] = deque()
        self._closed = False

    @property
    def in_use(self) -> int:
        """Connections that a request has, those being made included."""
        return self._limiter.in_use

    @property
    def max_connections(self) -> int:
        """How many may be in use at once."""
        return self._limiter.size

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._limiter.waiting

    @property
    def idle(self) -> int:
        """Connections kept for the next request."""
        return len(self._idle)

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | RequestBody | None = None,
        *,
        context: RequestContext | None = None,
    ) -> UpstreamResponse:
        """Send a request and return the answer as soon as its head is here, body unread.

        `target` is sent as it is (`base_path` is the caller's to put before it), and so are `headers`; `Host` and the
        body's framing are added. A body that does not leave in one piece is sent to its end first, unless the
        upstream answers with an error before: then it is stopped. For an upstream whose answer is to be read while the
        body is still going up, or it takes no more of it, there is `send_pooled`. When a reused connection ends without an
        answer, an idempotent request, or one with an `Idempotency-Key`, is sent once more, on a new connection.

        Raises `ErrUpstream`, `ErrTimeout` (its message names the limit), `ErrUnavailable` (queue full, or closed),
        `ErrBadRequest` (a header or target that HTTP does not allow), and what the body raises. Whatever it
        raises, a cancellation included, leaves no connection open, no slot taken and nobody in the queue.
        """
        call = self._prepare(method, target, headers, body, context)
        anew = False
        while True:
            response = await self._begin(call, anew=anew)
            try:
                if response.upload is None:
                    await response.read_head()
                else:
                    await self._read_head_during_upload(response.upload, response)
            except StaleConnection as gone:
                if not (response.reused and call.repeatable):
                    raise self.peer.upstream_error(str(gone)) from gone
                anew = True  # the last time: a new connection cannot have been closed for being idle
                continue
            if context is not None:
                context.begin_phase("streaming")
            return response

    @asynccontextmanager
    async def send_pooled(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | RequestBody | None = None,
        *,
        context: RequestContext | None = None,
    ) -> AsyncIterator[UpstreamResponse]:
        """`request`, with both directions under way at once: the answer is here while the body may still go up.

        The upload is a task of this block: it is stopped when the upstream answers with an error (400 and up) or the
        block ends, and what it raises cancels the block and comes out of it. The response is closed with the block.
        Without a body there is no task. The upload waits for the upstream, and takes the next piece of the body only
        then. An upload cannot be repeated, so there is no second try after a reused connection has ended.
        """
        if body is None or isinstance(body, bytes):
            with await self.request(method, target, headers, body, context=context) as response:
                yield response
            return
        call = self._prepare(method, target, headers, body, context)
        response = await self._begin(call)
        async with run_upload(response.upload):
            with response:
                try:
                    await response.read_head()
                except StaleConnection as gone:
                    raise self.peer.upstream_error(str(gone)) from gone
                if response.upload is not None and response.status >= 400:
                    response.upload.stop()
                if context is not None:
                    context.begin_phase("streaming")
                yield response

    def close(self) -> None:
        """Close the idle connections, and take no new requests. Busy ones close with their answers."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _prepare(
        self,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | RequestBody | None,
        context: RequestContext | None,
    ) -> _Call:
        if self._authorization and not any(name.lower() == b"authorization" for name, _ in headers):
            headers = [*headers, (b"Authorization", self._authorization)]
        content, streamed = (body or b"", None) if body is None or isinstance(body, bytes) else (b"", body)
        length = len(content) if streamed is None else streamed.length
        framing = CHUNKED if length is None else content_length(method, length)
        head = request_head(method, target, self.host, headers, framing)
        lower = head.lower()
        upgrade = b"\nupgrade: " in lower  # at the beginning of a line, for no value can hold a line break
        repeatable = streamed is None and (method in IDEMPOTENT or _KEYED.search(lower) is not None)
        return _Call(
            method=method,
            wire=head + content,
            body=streamed,
            upgrade=upgrade,
            context=context,
            repeatable=repeatable,
        )

    async def _begin(self, call: _Call, *, anew: bool = False) -> UpstreamResponse:
        """Take a slot and a connection, and send what leaves at once; the rest is the response's upload."""
        context = call.context
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise ErrUnavailable(f"{self.name} is closed: the service is stopping", provider=self.name)
        if context is not None:
            context.assign_upstream(self.name)
        if not self._limiter.acquire_nowait():
            if context is not None:
                context.begin_phase("queued")
            await self._limiter.acquire()
        try:
            connection, sent, now = (None if anew else self._send_on_idle(call)) or await self._send_on_new(call)
        except BaseException:
            self._limiter.release()
            raise
        upload = None
        if sent < len(call.wire) or call.body is not None:
            upload = Upload(connection, self.peer, memoryview(call.wire)[sent:], call.body)
        if context is not None:
            context.begin_phase("waiting" if upload is None else "sending")
        parser = ResponseParser(head_only=call.method == b"HEAD", may_upgrade=call.upgrade)
        return UpstreamResponse(connection, parser, self.peer, self._release, upload, now)

    def _now(self) -> float:
        return trio.current_time() if self._deadlines is None else self._deadlines.now()

    def _send_on_idle(self, call: _Call) -> tuple[UpstreamConnection, int, float] | None:
        """The idle connection that took the beginning of it, how many bytes of it, and when; None: there is none."""
        now = self._now()
        connection = self._pop_idle(now, inf if call.body is None else UPLOAD_IDLE)
        if connection is None:
            return None
        try:
            return connection, connection.send_at_once(call.wire), now
        except OSError:
            connection.close()
            return None  # nothing was sent, so nothing is repeated on a new one

    async def _send_on_new(self, call: _Call) -> tuple[UpstreamConnection, int, float]:
        connection = await self._connect(call.context)
        try:
            return connection, connection.send_at_once(call.wire), trio.current_time()
        except OSError as error:
            connection.close()
            raise self.peer.upstream_error(f"broke the connection: {reason_of(error)}") from error

    async def _read_head_during_upload(self, upload: Upload, response: UpstreamResponse) -> None:
        """Read the head while the rest of the body goes up, which no error's answer has to wait for."""
        try:
            async with run_upload(upload):
                await response.read_head()
                if response.status >= 400:
                    upload.stop()
                else:
                    await upload.ended.wait()
        except BaseException:
            response.close()
            raise

    def _release(self, connection: UpstreamConnection, keep: bool) -> None:
        if keep and not self._closed:
            connection.used = True
            connection.shared = False
            connection.idle_since = self._now()
            self._idle.append(connection)
        else:
            connection.close()
        self._limiter.release()

    def _pop_idle(self, now: float, longest: float) -> UpstreamConnection | None:
        """The connection that was used last, if it has not been idle for longer than that, in seconds."""
        idle = self._idle
        while idle and idle[0].idle_since <= now - self._keepalive_expiry:  # the oldest are at the bottom
            idle.popleft().close()
        while idle:
            connection = idle.pop()
            if connection.idle_since >= now - longest and connection.has_no_pending_data():
                return connection
            connection.close()
        return None

    async def _connect(self, context: RequestContext | None) -> UpstreamConnection:
        peer = self.peer
        if context is not None:
            context.begin_phase("connecting")
        try:
            with trio.CancelScope(relative_deadline=peer.connect_timeout):
                if peer.scheme == "https" and self._ssl_context is None:
                    self._ssl_context = await trio.to_thread.run_sync(default_context, abandon_on_cancel=True)
                tls = self._ssl_context if peer.scheme == "https" else None
                sock = await connect(peer, tls)
                if self._window is None:
                    self._window = memoryview(bytearray(self._read_size))
                return UpstreamConnection(sock, self._window, self._deadlines, allowance=self._allowance)
        except (OSError, ValueError) as error:
            raise peer.unreachable(error) from error
        through = "" if peer.proxy is None else f" through the proxy {peer.proxy}"
        raise peer.timeout_error("connect", f"did not accept a connection{through}", peer.connect_timeout)
