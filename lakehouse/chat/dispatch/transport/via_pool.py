"""Requests to a provider through a connection pool of this service, without httpx objects: those cost a fifth of a
chat."""

from __future__ import annotations

import httpx

from lakehouse.chat.dispatch.transport.decoded_body import DecodedBody
from lakehouse.chat.dispatch.transport.interface import Headers, OnData, ProviderResponse
from lakehouse.core.context import RequestContext
from lakehouse.upstream.http1.content_codings import codings_of
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.http1.response import UpstreamResponse
from lakehouse.upstream.pool import Upstream


class PoolTransport:
    """`ProviderTransport` over the pool of one upstream, which is named after the provider."""

    def __init__(self, pool: Upstream) -> None:
        self._pool = pool

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes | None = None,
        *,
        context: RequestContext | None = None,
    ) -> ProviderResponse:
        """Implements `ProviderTransport`; `context` shows the phases of the request."""
        response = await self._pool.send(UpstreamRequest(method, target, headers, body, context))
        for name, _ in response.headers:
            if len(name) == 16 and name.lower() == b"content-encoding":
                return _open_encoded(response, self._pool.name)
        return PlainPoolResponse(response, self._pool.name)


def _open_encoded(response: UpstreamResponse, provider: str) -> ProviderResponse:
    """A response that has the field `Content-Encoding`, which may still name no coding."""
    values = (value.decode("latin-1") for name, value in response.headers if name.lower() == b"content-encoding")
    codings = codings_of(values)
    if not codings:
        return PlainPoolResponse(response, provider)
    pooled = PoolResponse(response, provider)
    pooled.body = DecodedBody(response, codings, provider=provider, status=response.status)
    return pooled


class PoolResponse(ProviderResponse):
    """`ProviderResponse` over the response of a pool. Closing it does not wait."""

    def __init__(self, response: UpstreamResponse, provider: str) -> None:
        self.status = response.status
        self.body = response
        self._provider = provider
        self._response = response

    def headers(self) -> list[tuple[str, str]]:
        """The header fields."""
        return httpx.Headers(self._response.headers).multi_items()

    async def aclose(self) -> None:
        """Close the response; does not wait."""
        self._response.close()


class PlainPoolResponse(PoolResponse):
    """A response without a content coding: its bytes are taken from the connection without a detour over `body`."""

    async def receive(self) -> bytes:
        """The next bytes of the body, empty at its end."""
        return await self._response.receive()

    async def read_and_close(self, limit: int, on_data: OnData) -> bytes:
        """`read` and close; a body that has arrived already is taken at once."""
        response = self._response
        try:
            body = response.try_read_all()
            if body is None or len(body) > limit:
                return await self.read(limit, on_data, first=body or b"")
        finally:
            response.close()
        if body and not body.isspace():
            on_data()
        return body
