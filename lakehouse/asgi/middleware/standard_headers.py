"""The headers that the request runner adds to responses: `X-Request-Id`, `Server-Timing` and the number of attempts."""

from __future__ import annotations

import trio

from lakehouse.asgi.types import Message
from lakehouse.core.context import RequestContext

ATTEMPTS = b"x-lakehouse-attempts"
"""The response header with the number of attempts that were made at providers."""

PROVIDER = b"x-lakehouse-provider"
"""The response header with the provider that answered, of answers that do not name it in their body."""


def add_request_id(message: Message, context: RequestContext) -> list[tuple[bytes, bytes]]:
    """The headers of a message with the request's id as the only `X-Request-Id`; an upstream's own is removed."""
    headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"x-request-id"]
    headers.append((b"x-request-id", context.id.encode()))
    return headers


def add_server_timing(head: Message, context: RequestContext) -> Message:
    """The head of a whole response with a `Server-Timing` header, in milliseconds, unless it has one.

    A streamed response has none, for its time is not known when its head is sent: one without a length, or an event
    stream. That holds also for a stream that ends with its first piece.
    """
    headers = dict(head["headers"])
    streamed = b"content-length" not in headers or headers.get(b"content-type", b"").startswith(b"text/event-stream")
    if streamed or b"server-timing" in headers:
        return head
    return {**head, "headers": [*head["headers"], make_server_timing(context)]}


def make_server_timing(context: RequestContext) -> tuple[bytes, bytes]:
    """The `Server-Timing` header of a response that is sent now, in milliseconds."""
    upstream = context.upstream_seconds
    own = max(0.0, trio.current_time() - context.started - upstream)
    return b"server-timing", b"upstream;dur=%.1f, gateway;dur=%.1f" % (upstream * 1000, own * 1000)
