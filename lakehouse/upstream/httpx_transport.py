"""Upstreams as an httpx transport, which any other httpx transport can replace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import httpx

from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrUpstream
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.http1.response import UpstreamResponse
from lakehouse.upstream.pool import Upstream

_SET_BY_UPSTREAM = frozenset((b"host", b"content-length", b"transfer-encoding"))


class UpstreamTransport(httpx.AsyncBaseTransport):
    """One or more upstreams, chosen by scheme, host and port.

    Nothing is added to a request and nothing kept of a response: no cookie jar, no default headers, no redirects, no
    proxies from the environment. `extensions={"lakehouse.context": context}` passes the request's context. The limits
    are the upstream's; httpx's own timeouts are ignored. Failures are `ErrUpstream`, `ErrTimeout` and `ErrUnavailable`,
    never httpx's. A request that is idempotent, by its method or an `Idempotency-Key`, is sent again when a reused
    connection ends without a response, if its body is bytes. A body that is a stream is sent to its end before the
    response is returned, unless that is an error.
    """

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._upstreams: dict[tuple[str, str, int | None], Upstream] = {
            upstream.endpoint.address[:3]: upstream for upstream in upstreams
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the response's body is a stream that must be read to its end or closed.

        Raises `ErrUpstream` also for a URL that belongs to none of the upstreams. Cancelled, it leaves nothing open.
        """
        url = request.url
        upstream = self._upstreams.get((url.scheme, url.raw_host.decode(), url.port or _DEFAULT_PORTS.get(url.scheme)))
        if upstream is None:
            raise ErrUpstream(f"no upstream is configured for {url.scheme}://{url.netloc.decode()}")
        stream = request.stream
        response = await upstream.send(
            UpstreamRequest(
                request.method.encode(),
                url.raw_path,
                [header for header in request.headers.raw if header[0].lower() not in _SET_BY_UPSTREAM],
                b"".join(stream) if isinstance(stream, httpx.ByteStream) else _StreamBody(request),
                cast("RequestContext | None", request.extensions.get("lakehouse.context")),
            )
        )
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=ResponseStream(response),
            extensions={"http_version": b"HTTP/" + response.http_version.encode(), "reason_phrase": response.reason},
        )

    async def aclose(self) -> None:
        """Close the idle connections; those in use close with their responses."""
        for upstream in self._upstreams.values():
            upstream.close()


_DEFAULT_PORTS = {"http": 80, "https": 443}


class ResponseStream(httpx.AsyncByteStream):
    """The body of a response. Not a generator: left early, that would be closed by the garbage collector."""

    def __init__(self, response: UpstreamResponse) -> None:
        self.response = response

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> bytes:
        """The next piece as it arrived. Raises `ErrUpstream` if the body breaks off, `ErrTimeout`."""
        if piece := await self.response.receive():
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Release the connection, without waiting."""
        self.response.close()


class _StreamBody:
    """An httpx request's stream as a `RequestBody`."""

    def __init__(self, request: httpx.Request) -> None:
        length = request.headers.get("content-length")
        self.length = None if length is None else int(length)
        self._pieces = aiter(cast("httpx.AsyncByteStream", request.stream))

    async def receive(self) -> bytes:
        async for piece in self._pieces:
            if piece:  # an empty one would mean the end
                return piece
        return b""
