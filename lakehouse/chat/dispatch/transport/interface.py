"""How requests reach a provider: `ProviderTransport`, and the `ProviderResponse` that it returns.

Two adapters implement both: `via_pool` over the connection pools of this service, `via_httpx` over any httpx transport
that the caller of `open_dispatcher` puts in their place. The dispatcher chooses one per provider when it is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from typing import Protocol, Self

import trio

from lakehouse.chat.dialects.errors.classifier import classify
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure

MAX_ERROR_BODY = 65536
"""Bytes of an error response's body that are read."""

ERROR_BODY_TIMEOUT = 2.0
"""Seconds for the body of an error response to arrive. The status alone already classifies the failure."""

OnData = Callable[[], None]
Headers = Sequence[tuple[bytes, bytes]]


class Body(Protocol):
    """The body of a response: non-blocking reads, and waiting for data."""

    def try_read(self) -> bytes | None:
        """The next bytes, empty at the end of the body, None while there are none. Raises a broken body's failure."""

    def wait_readable(self, deadline: float = inf) -> Awaitable[bool]:
        """Wait until `try_read` may return bytes; False once `deadline` has passed. Raises like `try_read`."""

    def subscribe(self, callback: Callable[[], float | None], deadline: float = inf) -> Awaitable[bool] | None:
        """`wait_readable`, and call `callback` from the poller task whenever `try_read` may return bytes meanwhile.

        `callback` returns the new deadline, or None to unsubscribe and wake the waiting task. Returns None instead of
        an awaitable if this body cannot be subscribed to.
        """


class ProviderTransport(Protocol):
    """Sends requests to one provider."""

    async def request(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        body: bytes | None = None,
        *,
        context: RequestContext | None = None,
    ) -> ProviderResponse:
        """Send a request and return its response as soon as the head has arrived.

        `target` is the request target, path and query. Raises a `LakehouseError`; then, and when cancelled, nothing is
        left open. Otherwise the response must be closed.
        """


class ProviderResponse(ABC):
    """A response whose head has arrived. As an async context manager, it is closed at the end of the block."""

    status: int
    body: Body
    _provider: str

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @abstractmethod
    def headers(self) -> list[tuple[str, str]]:
        """The header fields."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close the response, also when cancelled. Its connection is reused if the body was read to its end."""

    async def receive(self) -> bytes:
        """The next bytes of the body, empty at its end. Cancellation may lose the bytes that were arriving."""
        while (data := self.body.try_read()) is None:
            await self.body.wait_readable()
        return data

    async def read(self, limit: int, on_data: OnData, *, first: bytes = b"") -> bytes:
        """Read the body to its end; `first` is the part that was received already.

        Calls `on_data` for every part that is not white space only: some providers send white space to keep the
        connection alive until the answer is ready. Raises `upstream_error` for a body of more than `limit` bytes.
        """
        parts: list[bytes] = []
        size = 0
        part: bytes | None = first
        while part or (part := await self.receive()):
            if not part.isspace():
                on_data()
            size += len(part)
            if size > limit:
                message = f"the answer of {self._provider} is over the bound of {limit} bytes"
                raise make_failure(
                    "upstream_error", message, provider=self._provider, upstream_status=self.status, retryable=False
                )
            parts.append(part)
            part = None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_and_close(self, limit: int, on_data: OnData) -> bytes:
        """`read`, then close."""
        async with self:
            return await self.read(limit, on_data)

    async def read_error(self, *, secrets: Iterable[str] = ()) -> LakehouseError:
        """Classify an error response. Its body may be missing, endless or slow: it is read up to a size and a time."""
        body = b""
        with trio.move_on_after(ERROR_BODY_TIMEOUT):
            try:
                while len(body) < MAX_ERROR_BODY and (part := await self.receive()):
                    body += part
            except LakehouseError:
                pass  # the connection broke: classify what has arrived
        return classify(self.status, self.headers(), body[:MAX_ERROR_BODY], provider=self._provider, secrets=secrets)
