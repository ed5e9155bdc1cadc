"""Decodes the content codings of a response body while it arrives.

Requests ask for `identity`, but some servers, and some proxies in front of them, compress all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from math import inf

import trio

from lakehouse.chat.dialects.base import MAX_ANSWER
from lakehouse.chat.dispatch.transport.interface import Body
from lakehouse.core.errors import LakehouseError
from lakehouse.core.provider_failures import make_failure
from lakehouse.upstream.http1.content_codings import Corrupt, Decoder, TooLarge, Truncated, UnknownCoding

FAIRNESS_BUDGET = 256 * 1024
"""Decoded bytes that are given out before other tasks get to run. A thousandth of them may have been received, so that
waiting for the network is not enough of a pause."""


class DecodedBody:
    """`Body` without its content codings."""

    def __init__(self, body: Body, codings: tuple[str, ...], *, provider: str, status: int) -> None:
        self._body = body
        self._codings = codings
        self._provider = provider
        self._status = status
        self._decoder: Decoder | None = (
            None  # made with the first bytes, so that its exceptions are raised by `try_read`
        )
        self._parts: Iterator[bytes] = iter(())
        self._ahead: bytes | LakehouseError | None = None  # the next result of `try_read`
        self._budget = FAIRNESS_BUDGET

    def try_read(self) -> bytes | None:
        """The next decoded bytes.

        Raises `incomplete_stream` for data that ends early, and `upstream_error` for data that is corrupt, decodes to
        more than `MAX_ANSWER` bytes, or has an unsupported coding.
        """
        if self._budget <= 0 and self._ahead is not None:
            return None
        while self._ahead is None:
            data = self._body.try_read()
            if data:
                self._parts = self._feed(data)
            elif data is None or self._decoder is None:
                return data
            else:
                return self._end(self._decoder)
            self._decode_next()
        if isinstance(self._ahead, LakehouseError):
            raise self._ahead
        part = self._ahead
        self._budget -= len(part)
        self._decode_next()
        return part

    async def wait_readable(self, deadline: float = inf) -> bool:
        """Wait for the network, or yield to other tasks once if decoded bytes are left."""
        self._budget = FAIRNESS_BUDGET
        if self._ahead is None:
            return await self._body.wait_readable(deadline)
        await trio.lowlevel.checkpoint()
        return True

    def subscribe(self, callback: Callable[[], float | None], deadline: float = inf) -> Awaitable[bool] | None:
        """Subscribe to the network; the bytes of one arrival may decode to more than one call of `callback` takes."""

        def call_for_all() -> float | None:
            due = callback()
            while due is not None and self._ahead is not None:
                if self._budget <= 0:
                    return None
                due = callback()
            return due

        return None if self._ahead is not None else self._body.subscribe(call_for_all, deadline)

    def _feed(self, data: bytes) -> Iterator[bytes]:
        if self._decoder is None:
            self._decoder = Decoder(self._codings, max_output=MAX_ANSWER)
        yield from self._decoder.feed(data)

    def _decode_next(self) -> None:
        try:
            self._ahead = next(self._parts, None)
        except (UnknownCoding, Corrupt, TooLarge) as error:
            self._ahead = self._map_error(error)

    def _end(self, decoder: Decoder) -> bytes:
        try:
            decoder.end()
        except Truncated as error:
            self._ahead = self._map_error(error)
            raise self._ahead from None
        return b""

    def _map_error(self, error: UnknownCoding | Corrupt | TooLarge) -> LakehouseError:
        name, coding = self._provider, ", ".join(self._codings)[:80]
        if isinstance(error, UnknownCoding):
            message = f"{name} answered with Content-Encoding {coding}, which is not supported (unknown: {error})"
        else:
            message = f"{name} answered with Content-Encoding {coding}, and {error}"
        return make_failure(
            "incomplete_stream" if isinstance(error, Truncated) else "upstream_error",
            message,
            provider=name,
            upstream_status=self._status,
            retryable=None if isinstance(error, Corrupt) else False,
        )
