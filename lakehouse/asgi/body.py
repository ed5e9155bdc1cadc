"""Receiving a request body: its size, its time, and its encoding."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from math import inf

import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.types import Receive, Scope
from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrTooLarge


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """How large a request body may be, and when it must have arrived.

    `max_size` is in bytes; `timeout` is in seconds from the beginning of the request. The keys are those of the
    configuration, for error messages.
    """

    max_size: int
    timeout: float = inf
    max_size_key: str = "chatd.max_body"
    timeout_key: str = "chatd.timeout"

    def check_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise `ErrTooLarge` for a declared length over the limit, `ErrBadRequest` for a body that is compressed."""
        fields = dict(headers)
        encoding = fields.get(b"content-encoding", b"identity").decode("latin-1")
        if encoding.lower() != "identity":
            raise ErrBadRequest(f"the body is compressed (Content-Encoding: {encoding[:40]}): send it as plain JSON")
        length = fields.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.max_size:
            raise self.too_large()

    def too_large(self) -> ErrTooLarge:
        """The error for a body over the limit."""
        return ErrTooLarge(
            f"the body is larger than {self.max_size} bytes, the limit of this service ({self.max_size_key})"
        )

    def too_late(self) -> ErrTimeout:
        """The error for a body that has not arrived in time."""
        message = f"timeout: the body of the request did not arrive within {self.timeout:g} s ({self.timeout_key})"
        return ErrTimeout(message, error_class="timeout", retryable=True)


async def read_body(receive: Receive, limit: int) -> bytes:
    """Receive a whole request body, of at most `limit` bytes.

    Raises `ErrTooLarge` as soon as the body is longer, with no more than `limit` bytes kept, and
    `ConnectionResetError` when the server reports that the client left before the end of the body.
    """
    parts: list[bytes] = []
    left = limit
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client left before the end of its request's body")
        part: bytes = message.get("body", b"")
        left -= len(part)
        if left < 0:
            raise ErrTooLarge(f"the request's body is larger than {limit} bytes")
        if not message.get("more_body", False):
            return b"".join(parts) + part if parts else part
        parts.append(part)


async def iterate_body(receive: Receive, limits: BodyLimits) -> AsyncIterator[bytes]:
    """The pieces of a request body as they arrive.

    Raises `ErrTooLarge` as soon as the body is longer than the limit, and `ConnectionResetError` when the server
    reports that the client left before the end of the body.
    """
    left = limits.max_size
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client left before the end of its request's body")
        piece: bytes = message.get("body", b"")
        left -= len(piece)
        if left < 0:
            raise limits.too_large()
        more = message.get("more_body", False)
        if piece:
            yield piece


async def receive_body(scope: Scope, receive: Receive, limits: BodyLimits) -> bytes:
    """Receive a whole request body within its limits, and within the client's deadline.

    Raises `ErrBadRequest`, `ErrTooLarge` as soon as the body is known to be too long, `ErrTimeout`, and
    `ConnectionResetError`. A body that has arrived already needs no deadline, and gets none.
    """
    limits.check_headers(scope["headers"])
    request = request_scope.find(scope)
    if request is not None and request.server is not None and (body := request.server.try_receive_body()) is not None:
        if len(body) > limits.max_size:
            raise limits.too_large()
        return body
    try:
        return await _read_in_time(receive, limits, request)
    except ErrTooLarge:
        raise limits.too_large() from None


async def _read_in_time(receive: Receive, limits: BodyLimits, request: RequestScope | None) -> bytes:
    context = None if request is None else request.context
    deadline = (trio.current_time() if context is None else context.started) + limits.timeout
    before = inf
    with trio.CancelScope(deadline=deadline):
        if context is not None:
            before = context.shorten_deadline(deadline)  # for the list of active requests
        try:
            return await read_body(receive, limits.max_size)
        finally:
            if context is not None:
                context.restore_deadline(before)
    raise limits.too_late()
