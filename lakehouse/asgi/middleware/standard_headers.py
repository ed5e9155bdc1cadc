"""The headers of our own that a lifeline reads and writes: request id, timing, and the caller's deadline."""

from __future__ import annotations

import trio

from lakehouse.asgi.types import Message
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest


def add_request_id(message: Message, context: RequestContext) -> list[tuple[bytes, bytes]]:
    """The headers of a message with ours as the only `X-Request-Id`: an upstream's own may be among them."""
    headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"x-request-id"]
    headers.append((b"x-request-id", context.id.encode()))
    return headers


def add_server_timing(head: Message, context: RequestContext) -> Message:
    """A whole response's head with where the time went, in milliseconds, unless it says so already.

    A stream that happens to end with its first piece is none: it has no length, or says that it is an event stream.
    """
    headers = dict(head["headers"])
    streamed = b"content-length" not in headers or headers.get(b"content-type", b"").startswith(b"text/event-stream")
    if streamed or b"server-timing" in headers:
        return head
    waited = context.upstream_seconds
    ours = max(0.0, trio.current_time() - context.started - waited)
    timing = b"upstream;dur=%.1f, gateway;dur=%.1f" % (waited * 1000, ours * 1000)
    return {**head, "headers": [*head["headers"], (b"server-timing", timing)]}


def parse_timeout_header(timeout: bytes) -> float:
    """What `X-Request-Timeout-Ms` says, in seconds. Raises ErrBadRequest."""
    milliseconds = float(timeout) if timeout.isdigit() else 0.0  # a float takes any number of digits
    if not milliseconds:
        shown = timeout.decode("latin-1")[:40]
        raise ErrBadRequest(f"X-Request-Timeout-Ms must be a positive whole number of milliseconds, not {shown!r}")
    return milliseconds / 1000
