"""Requests to a provider through any httpx transport: its exceptions become `LakehouseError`s."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from math import inf
from typing import cast

import httpx
import trio

from lakehouse.chat.dispatch.transport.decoded_body import DecodedBody
from lakehouse.chat.dispatch.transport.interface import Body, Headers, ProviderResponse
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure
from lakehouse.upstream.http1.content_codings import codings_of

CLOSE_TIMEOUT = 1.0
"""Seconds that a transport may take to close a response, cancelled or not."""


class HttpxTransport:
    """`ProviderTransport` over an httpx transport, which its owner closes.

    The `RequestContext` is passed on as the request's extension `lakehouse.context`, which
    `lakehouse.upstream.httpx_transport` reads.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, *, base_url: str, provider: str) -> None:
        self._transport = transport
        self._base_url = httpx.URL(base_url)
        self._provider = provider

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes | None = None,
        *,
        context: RequestContext | None = None,
    ) -> ProviderResponse:
        """Implements `ProviderTransport`."""
        request = httpx.Request(
            method.decode(),
            self._base_url.copy_with(raw_path=target),
            headers=headers,
            content=body,
            extensions={} if context is None else {"lakehouse.context": context},
        )
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.HTTPError as error:
            raise map_httpx_error(error, self._provider) from error
        return HttpxResponse(response, self._provider)


def map_httpx_error(error: httpx.HTTPError, provider: str) -> LakehouseError:
    """The `LakehouseError` for an exception of httpx."""
    if isinstance(error, httpx.TimeoutException):
        message = f"{provider} did not answer in time ({type(error).__name__})"
        failure = make_failure("timeout", message, provider=provider)
        failure.unreached = isinstance(error, httpx.ConnectTimeout)
        return failure
    return make_failure(
        "upstream_error", f"{provider} could not be asked: {type(error).__name__}: {error}", provider=provider
    )


class HttpxResponse(ProviderResponse):
    """`ProviderResponse` over an httpx response."""

    def __init__(self, response: httpx.Response, provider: str) -> None:
        self.status = response.status_code
        self.body: Body = HttpxBody(response, provider)
        if codings := codings_of(response.headers.get_list("content-encoding")):
            self.body = DecodedBody(self.body, codings, provider=provider, status=self.status)
        self._provider = provider
        self._response = response

    def headers(self) -> list[tuple[str, str]]:
        """The header fields."""
        return self._response.headers.multi_items()

    async def aclose(self) -> None:
        """Close the response, also when cancelled, within `CLOSE_TIMEOUT`."""
        with trio.CancelScope(shield=True, relative_deadline=CLOSE_TIMEOUT):
            await cast("httpx.AsyncByteStream", self._response.stream).aclose()


class HttpxBody:
    """`Body` over the stream of an httpx response, which can only be waited for: `subscribe` is not supported."""

    def __init__(self, response: httpx.Response, provider: str) -> None:
        self._chunks = aiter(cast("AsyncIterable[bytes]", response.stream))
        self._provider = provider
        self._next: bytes | None = None

    def try_read(self) -> bytes | None:
        """The chunk that `wait_readable` received."""
        data, self._next = self._next, None
        return data

    async def wait_readable(self, deadline: float = inf) -> bool:
        """Receive the next chunk. Cancellation may lose the bytes that were arriving."""
        with trio.CancelScope(deadline=deadline):
            self._next = await self._receive_chunk()
            return True
        return False

    def subscribe(self, callback: Callable[[], float | None], deadline: float = inf) -> None:
        """None: httpx transports offer no readiness."""

    async def _receive_chunk(self) -> bytes:
        try:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        except httpx.HTTPError as error:
            raise map_httpx_error(error, self._provider) from error
        return b""
