"""Answers of our own upstreams, asked without httpx's objects around them: those cost a fifth of a whole chat."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from lakehouse.chat.dispatch.provider_response import Body, Decoded, ProviderResponse
from lakehouse.upstream.codings import codings_of
from lakehouse.upstream.response import UpstreamResponse


def direct(answer: UpstreamResponse, provider: str) -> ProviderResponse:
    """An upstream's answer as what comes in."""
    for name, _ in answer.headers:
        if len(name) == 16 and name.lower() == b"content-encoding":
            return _Encoded(answer, provider)
    return PooledResponse(answer, provider)


class PooledResponse(ProviderResponse):
    """`ProviderResponse` over an upstream's answer, which closes without waiting."""

    def __init__(self, answer: UpstreamResponse, provider: str) -> None:
        self.status = answer.status
        self._answer = answer
        self.body: Body = answer
        self._provider = provider

    async def receive(self) -> bytes:
        """See `ProviderResponse`."""
        return await self._answer.receive()

    async def whole(self, limit: int, heard: Callable[[], None]) -> bytes:
        """See `ProviderResponse`."""
        answer = self._answer
        try:
            body = answer.take_whole()
            if body is None or len(body) > limit:
                return await self.read(limit, heard, first=body or b"")
        finally:
            answer.close()
        if body and not body.isspace():
            heard()
        return body

    def headers(self) -> list[tuple[str, str]]:
        """See `ProviderResponse`."""
        return httpx.Headers(self._answer.headers).multi_items()

    async def aclose(self) -> None:
        """See `ProviderResponse`."""
        self._answer.close()


class _Encoded(PooledResponse):
    """An answer with content codings, or with a `Content-Encoding` that names none."""

    def __init__(self, answer: UpstreamResponse, provider: str) -> None:
        super().__init__(answer, provider)
        named = (value.decode("latin-1") for name, value in answer.headers if name.lower() == b"content-encoding")
        if codings := codings_of(named):
            self.body = Decoded(answer, codings, provider=provider, status=self.status)

    async def receive(self) -> bytes:
        """See `ProviderResponse`."""
        return await ProviderResponse.receive(self)

    async def whole(self, limit: int, heard: Callable[[], None]) -> bytes:
        """See `ProviderResponse`."""
        return await ProviderResponse.whole(self, limit, heard)
