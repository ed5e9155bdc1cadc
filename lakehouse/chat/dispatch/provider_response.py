"""The answer to an HTTP request: its status, and its body as it arrives.

Everything that an httpx transport may do to us ends here: its exceptions become ours, and a body is closed whatever
happens. Our own transport raises our exceptions already; anybody else's may be put in its place.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from math import inf
from typing import Protocol, Self, cast

import httpx
import trio

from lakehouse.chat.dialects.base import MAX_ANSWER
from lakehouse.chat.dialects.errors.classifier import classify
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import failure
from lakehouse.upstream.codings import Corrupt, Decoder, TooLarge, Truncated, UnknownCoding, codings_of
from lakehouse.upstream.httpx_transport import ResponseStream

CLOSE_PATIENCE = 1.0
"""Seconds that a foreign transport may take to close, cancelled or not. Ours closes at once."""

MAX_REFUSAL = 65536
"""Bytes of a refusal's body that are looked at."""

ERROR_BODY_TIMEOUT = 2.0
"""Seconds for them to arrive: the status has said the most important thing already."""


async def send_via_httpx(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, *, provider: str
) -> ProviderResponse:
    """Send `request` and wait for the head of its answer."""
    try:
        response = await transport.handle_async_request(request)
    except httpx.HTTPError as error:
        raise map_httpx_error(error, provider) from error
    return ProviderResponse(response, provider)


def map_httpx_error(error: httpx.HTTPError, provider: str) -> LakehouseError:
    """httpx's failure as one of ours."""
    if isinstance(error, httpx.TimeoutException):
        return failure("timeout", f"{provider} did not answer in time ({type(error).__name__})", provider=provider)
    return failure(
        "upstream_error", f"{provider} could not be asked: {type(error).__name__}: {error}", provider=provider
    )


CREDIT = 256 * 1024
"""Decoded bytes that are given out at the most before the other tasks have their turn: a thousand times less may have
come in, so that waiting for the next bytes is not enough of a pause."""


class Body(Protocol):
    """What comes in: what is here can be taken without waiting, and what is not can be waited for."""

    def take(self) -> bytes | None:
        """The next bytes, none at the end, None while there is nothing. Raises what the body breaks off with."""

    def wait_readable(self, deadline: float = inf) -> Awaitable[bool]:
        """Wait until `take` may have something; false once `deadline` has passed. Raises as `take`."""

    def subscribe(self, look: Callable[[], float | None], deadline: float = inf) -> Awaitable[bool] | None:
        """`wait_readable`, except that `look` is called meanwhile, in another task, whenever `take` may have something. It
        says until when to go on so, or None to end the wait. None in place of a wait where that cannot be done."""


class HttpxBody:
    """The body that somebody else's transport gives. It knows only one way of asking: to wait for the next part."""

    def __init__(self, response: httpx.Response, provider: str) -> None:
        self._chunks = aiter(cast("AsyncIterable[bytes]", response.stream))
        self._provider = provider
        self._next: bytes | None = None

    def take(self) -> bytes | None:
        """See `Body`."""
        data, self._next = self._next, None
        return data

    async def wait_readable(self, deadline: float = inf) -> bool:
        """See `Body`. Cancelled, it may have lost what was on its way."""
        with trio.CancelScope(deadline=deadline):
            self._next = await self._chunk()
            return True
        return False

    def subscribe(self, look: Callable[[], float | None], deadline: float = inf) -> None:
        """See `Body`."""

    async def _chunk(self) -> bytes:
        try:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        except httpx.HTTPError as error:
            raise map_httpx_error(error, self._provider) from error
        return b""


class Decoded:
    """A body whose content codings are taken off as it arrives. `identity` is asked for, but some servers and some
    proxies before them compress all the same."""

    def __init__(self, body: Body, codings: tuple[str, ...], *, provider: str, status: int) -> None:
        self._body = body
        self._codings = codings
        self._provider = provider
        self._status = status
        self._decoder: Decoder | None = None  # made with the first bytes: what raises is `take`
        self._parts: Iterator[bytes] = iter(())
        self._ahead: bytes | LakehouseError | None = None  # what `take` gives next
        self._credit = CREDIT

    def take(self) -> bytes | None:
        """See `Body`. Also raises `incomplete_stream` for data that ends early, and `upstream_error` for data that is
        corrupt, decodes to more than an answer may have, or is in a coding that is not known."""
        if self._credit <= 0 and self._ahead is not None:
            return None
        while self._ahead is None:
            data = self._body.take()
            if data:
                self._parts = self._feed(data)
            elif data is None or self._decoder is None:
                return data
            else:
                return self._end(self._decoder)
            self._look_ahead()
        if isinstance(self._ahead, LakehouseError):
            raise self._ahead
        part = self._ahead
        self._credit -= len(part)
        self._look_ahead()
        return part

    async def wait_readable(self, deadline: float = inf) -> bool:
        """See `Body`."""
        self._credit = CREDIT
        if self._ahead is None:
            return await self._body.wait_readable(deadline)
        await trio.lowlevel.checkpoint()
        return True

    def subscribe(self, look: Callable[[], float | None], deadline: float = inf) -> Awaitable[bool] | None:
        """See `Body`. The bytes of one arrival may decode to more than one look takes."""

        def look_at_all() -> float | None:
            due = look()
            while due is not None and self._ahead is not None:
                if self._credit <= 0:
                    return None
                due = look()
            return due

        return None if self._ahead is not None else self._body.subscribe(look_at_all, deadline)

    def _feed(self, data: bytes) -> Iterator[bytes]:
        if self._decoder is None:
            self._decoder = Decoder(self._codings, allowance=MAX_ANSWER)
        yield from self._decoder.feed(data)

    def _look_ahead(self) -> None:
        try:
            self._ahead = next(self._parts, None)
        except (UnknownCoding, Corrupt, TooLarge) as error:
            self._ahead = self._failure(error)

    def _end(self, decoder: Decoder) -> bytes:
        try:
            decoder.end()
        except Truncated as error:
            self._ahead = self._failure(error)
            raise self._ahead from None
        return b""

    def _failure(self, error: UnknownCoding | Corrupt | TooLarge) -> LakehouseError:
        name, coding = self._provider, ", ".join(self._codings)[:80]
        if isinstance(error, UnknownCoding):
            message = f"{name} answered with Content-Encoding {coding}, which is not supported (unknown: {error})"
        else:
            message = f"{name} answered with Content-Encoding {coding}, and {error}"
        return failure(
            "incomplete_stream" if isinstance(error, Truncated) else "upstream_error",
            message,
            provider=name,
            upstream_status=self._status,
            retryable=None if isinstance(error, Corrupt) else False,
        )


class ProviderResponse:
    """The head of an answer, and its body to come. Used as a context manager, it is closed at the end."""

    def __init__(self, response: httpx.Response, provider: str) -> None:
        self.status = response.status_code
        self._response = response
        self._provider = provider
        stream = response.stream
        self.body: Body = stream.response if isinstance(stream, ResponseStream) else HttpxBody(response, provider)
        if codings := codings_of(response.headers.get_list("content-encoding")):
            self.body = Decoded(self.body, codings, provider=provider, status=self.status)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def receive(self) -> bytes:
        """The next bytes, or none at the end of the body."""
        while (data := self.body.take()) is None:
            await self.body.wait_readable()
        return data

    async def read(self, limit: int, heard: Callable[[], None], *, first: bytes = b"") -> bytes:
        """The whole body. Raises if it is over `limit` bytes; calls `heard` for every part of it that is not mere white
        space, with which some providers keep a connection alive until they have something to say. `first` is what was
        received of it already."""
        parts: list[bytes] = []
        size = 0
        part: bytes | None = first
        while part or (part := await self.receive()):
            if not part.isspace():
                heard()
            size += len(part)
            if size > limit:
                message = f"the answer of {self._provider} is over the bound of {limit} bytes"
                raise failure(
                    "upstream_error", message, provider=self._provider, upstream_status=self.status, retryable=False
                )
            parts.append(part)
            part = None
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def whole(self, limit: int, heard: Callable[[], None]) -> bytes:
        """`read`, and close."""
        async with self:
            return await self.read(limit, heard)

    def headers(self) -> list[tuple[str, str]]:
        """The fields of its head."""
        return self._response.headers.multi_items()

    async def refusal(self, *, secrets: Iterable[str] = ()) -> LakehouseError:
        """What an answer that is no success means. Its body may be missing, endless or slow."""
        body = b""
        with trio.move_on_after(ERROR_BODY_TIMEOUT):
            try:
                while len(body) < MAX_REFUSAL and (part := await self.receive()):
                    body += part
            except LakehouseError:
                pass  # it broke off: what came must do
        return classify(self.status, self.headers(), body[:MAX_REFUSAL], provider=self._provider, secrets=secrets)

    async def aclose(self) -> None:
        """Close it, also when cancelled."""
        with trio.CancelScope(shield=True, relative_deadline=CLOSE_PATIENCE):
            await cast("httpx.AsyncByteStream", self._response.stream).aclose()
