"""Whole responses: JSON documents, errors, and empty ones.

Event streams are in `asgi.sse`, files and other streams in `asgi.content`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from lakehouse.asgi.types import HeaderPairs, Send
from lakehouse.core.errors import LakehouseError

JSON = b"application/json"


class Response(NamedTuple):
    """A response that is complete before it is sent.

    `headers` come after Content-Type, which is left out where `content_type` is empty, and Content-Length.
    """

    body: bytes
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()
    content_type: bytes = JSON

    def make_headers(self) -> list[tuple[bytes, bytes]]:
        """All headers, in a new list."""
        headers = [] if not self.content_type else [(b"content-type", self.content_type)]
        if self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(self.body)))
        headers += self.headers
        return headers

    async def send_to(self, send: Send) -> None:
        """Send the response in ASGI's two messages. A server leaves out the body of a response to HEAD."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.make_headers()})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


def json_response(document: object, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """`document` as JSON; anything that msgspec encodes."""
    return Response(msgspec.json.encode(document), status, [encode_header(header) for header in headers])


def error_response(error: LakehouseError, request_id: str | None = None) -> Response:
    """A failure in the form of the contract, with its own status and headers."""
    return json_response(error.document(request_id), error.status, error.headers())


def empty_response(status: int = 204, headers: HeaderPairs = ()) -> Response:
    """A response without a body."""
    return Response(b"", status, tuple(headers), content_type=b"")


async def send_json(send: Send, status: int, document: object, headers: HeaderPairs = ()) -> None:
    """Send `document` as a whole JSON response; `headers` come after Content-Type and Content-Length."""
    await Response(msgspec.json.encode(document), status, tuple(headers)).send_to(send)


@lru_cache(64)
def encode_header(header: tuple[str, str]) -> tuple[bytes, bytes]:
    """A header of text as ASGI has it. A character outside of Latin-1 becomes a question mark."""
    name, value = header
    return name.lower().encode(), value.encode("latin-1", "replace")
