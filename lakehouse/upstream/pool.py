"""An upstream: its address, the connections to it, and the order in which requests get them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from math import inf

import trio

from lakehouse.config.urls import BaseURL
from lakehouse.core.errors import ErrUnavailable
from lakehouse.net.fairness import OPERATIONS
from lakehouse.net.http1.fields import encode_fields
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.address import parse_base_url
from lakehouse.upstream.connections.connection import UpstreamConnection
from lakehouse.upstream.connections.connector import Connector
from lakehouse.upstream.connections.forward_proxy import ForwardProxy
from lakehouse.upstream.connections.idle_connections import IdleConnections
from lakehouse.upstream.connections.socket_io import READ_WINDOW
from lakehouse.upstream.endpoint import UpstreamEndpoint, reason_of
from lakehouse.upstream.http1.request import EncodedRequest, UpstreamRequest, encode_request
from lakehouse.upstream.http1.response import StaleConnection, UpstreamResponse
from lakehouse.upstream.http1.response_parser import ResponseParser
from lakehouse.upstream.http1.upload import Upload, run_upload
from lakehouse.upstream.limiter import Limiter

MAX_CONSTANT_FIELDS = 64
"""Header tuples that an upstream keeps encoded: a provider has one for each of its endpoints."""


class Upstream:
    """One base URL and the connections to it: at most `max_connections`, idle ones used last in, first out.

    It needs no nursery and opens nothing before the first request. Acquiring and releasing take constant time. Expired
    idle connections are closed when the next request arrives. All limits are seconds; `UpstreamEndpoint` documents what
    they run from. Requests beyond `max_connections` wait in a queue of at most `max_waiting`, in order, and leave it
    when cancelled.
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
        bytes_per_turn: int = OPERATIONS * READ_WINDOW,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ForwardProxy | None = None,
        reactor: Reactor | None = None,
    ) -> None:
        """`ssl_context` replaces the default, which verifies certificates as httpx does. While `reactor` runs, it keeps
        the limits of responses at less cost than cancel scopes. `bytes_per_turn` is what one connection may read before
        the other tasks run. The `authorization` of a `BaseURL` is sent with each request without such a header.
        Connections are tunnels through `proxy`, if that is given.

        Raises `ValueError` for a base URL that is neither `http(s)://host[:port][/path]` nor `unix:/path`.
        """
        address = parse_base_url(base_url)
        self.name = name
        self.host, self.base_path = address.host, address.path
        self.endpoint = UpstreamEndpoint(
            name=name,
            address=address,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
            idle_timeout=idle_timeout,
            proxy=proxy,
        )
        self._authorization = base_url.authorization.encode() if isinstance(base_url, BaseURL) else b""
        self._encode_constant_fields = lru_cache(MAX_CONSTANT_FIELDS)(encode_fields)
        self._limiter = Limiter(name, max_connections, max_waiting)
        self._connector = Connector(self.endpoint, ssl_context, reactor, bytes_per_turn=bytes_per_turn)
        self._idle = IdleConnections(keepalive_expiry)
        self._reactor = reactor
        self._closed = False

    @property
    def in_use(self) -> int:
        """Connections that requests hold, including those being opened."""
        return self._limiter.in_use

    @property
    def max_connections(self) -> int:
        """The bound of `in_use`."""
        return self._limiter.size

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._limiter.waiting

    @property
    def idle(self) -> int:
        """Connections kept for the next request."""
        return len(self._idle)

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send a request and return the response as soon as its head has arrived, body unread.

        A body that does not leave in one write is sent to its end first, unless the upstream answers with an error
        before: then the upload is stopped. Use `send_full_duplex` for an upstream whose response is to be read while
        the body is still being sent. When a reused connection ends without a response, an idempotent request, or one
        with an `Idempotency-Key`, is sent once more, on a new connection.

        Raises `ErrUpstream`, `ErrTimeout` (its message names the limit), `ErrUnavailable` (queue full, or closed),
        `ErrBadRequest` (a header or target that HTTP does not allow), and what the body raises. Any exception, a
        cancellation included, leaves no connection open, no slot taken and no entry in the queue.
        """
        encoded = encode_request(request, self.host, self._authorization, self._encode_constant_fields)
        new_connection = False
        while True:
            response = await self._start(encoded, new_connection=new_connection)
            try:
                if response.upload is None:
                    await response.read_head()
                else:
                    await _read_head_during_upload(response.upload, response)
            except StaleConnection as error:
                if not (response.reused and encoded.retry_safe):
                    raise self.endpoint.upstream_error(str(error)) from error
                new_connection = True  # which was not idle, so the second failure is the last
                continue
            if encoded.context is not None:
                encoded.context.begin_phase("streaming")
            return response

    @asynccontextmanager
    async def send_full_duplex(self, request: UpstreamRequest) -> AsyncIterator[UpstreamResponse]:
        """`send`, with both directions under way at once: the response is here while the body is being sent.

        The upload is a task of this block: it is stopped when the upstream answers with an error (400 and up) or the
        block ends, and what it raises cancels the block and comes out of it. The response is closed with the block. A
        request without a body, or with one in bytes, has no such task. The upload takes the next piece of the body when
        the upstream has taken the one before. It cannot be repeated, so a connection that has ended is not replaced.
        """
        if request.body is None or isinstance(request.body, bytes):
            with await self.send(request) as response:
                yield response
            return
        response = await self._start(encode_request(request, self.host, self._authorization))
        async with run_upload(response.upload):
            with response:
                try:
                    await response.read_head()
                except StaleConnection as error:
                    raise self.endpoint.upstream_error(str(error)) from error
                if response.upload is not None and response.status >= 400:
                    response.upload.stop()
                if request.context is not None:
                    request.context.begin_phase("streaming")
                yield response

    def close(self) -> None:
        """Close the idle connections, and take no new requests. Busy ones close with their responses."""
        self._closed = True
        self._idle.close_all()

    async def _start(self, request: EncodedRequest, *, new_connection: bool = False) -> UpstreamResponse:
        """Acquire a slot and a connection, and write what leaves at once; the rest is the response's upload."""
        context = request.context
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise ErrUnavailable(f"{self.name} is closed: the service is stopping", provider=self.name)
        if not self._limiter.acquire_nowait():
            if context is not None:
                context.begin_upstream_phase(self.name, "queued")
            await self._limiter.acquire()
        try:
            started = None if new_connection else self._write_to_idle(request)
            connection, sent, now = started or await self._write_to_new(request)
        except BaseException:
            self._limiter.release()
            raise
        upload = None
        if sent < len(request.wire) or request.body is not None:
            upload = Upload(connection, self.endpoint, memoryview(request.wire)[sent:], request.body)
        if context is not None:
            context.begin_upstream_phase(self.name, "waiting" if upload is None else "sending")
        parser = ResponseParser(head_only=request.head_only, may_upgrade=request.may_upgrade)
        return UpstreamResponse(connection, parser, self.endpoint, self._release, upload, now)

    def _now(self) -> float:
        return trio.current_time() if self._reactor is None else self._reactor.now()

    def _write_to_idle(self, request: EncodedRequest) -> tuple[UpstreamConnection, int, float] | None:
        """An idle connection, the bytes of the request that it took, and when; None if there is none."""
        now = self._now()
        connection = self._idle.pop(now, streams=request.body is not None)
        if connection is None:
            return None
        try:
            return connection, connection.try_write(request.wire), now
        except OSError:
            connection.close()
            return None  # nothing was sent, so a new connection repeats nothing

    async def _write_to_new(self, request: EncodedRequest) -> tuple[UpstreamConnection, int, float]:
        connection = await self._connector.open(request.context)
        try:
            return connection, connection.try_write(request.wire), trio.current_time()
        except OSError as error:
            connection.close()
            raise self.endpoint.upstream_error(f"broke the connection: {reason_of(error)}") from error

    def _release(self, connection: UpstreamConnection, reusable: bool) -> None:
        if reusable and not self._closed:
            self._idle.put(connection, self._now())
        else:
            connection.close()
        self._limiter.release()


async def _read_head_during_upload(upload: Upload, response: UpstreamResponse) -> None:
    """Read the head while the rest of the body is sent; the head of an error ends the upload."""
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
