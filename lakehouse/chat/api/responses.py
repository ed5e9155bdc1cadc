"""Whole answers: a JSON document with its status and headers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from lakehouse.asgi.middleware.standard_headers import ATTEMPTS
from lakehouse.asgi.types import Send
from lakehouse.core.errors import Attempt, LakehouseError

Headers = Sequence[tuple[str, str]]


class JsonResponse(NamedTuple):
    """An answer at hand, with `headers` beside those that say what it is and how long."""

    body: bytes
    status: int
    headers: Headers

    async def send_to(self, send: Send) -> None:
        """Send it in two messages."""
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        headers += [_encoded(header) for header in self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


@lru_cache(64)
def _encoded(header: tuple[str, str]) -> tuple[bytes, bytes]:
    name, value = header
    return name.lower().encode(), value.encode("latin-1", "replace")


def json_response(content: object, status: int = 200, headers: Headers = ()) -> JsonResponse:
    """`content` as JSON."""
    return JsonResponse(msgspec.json.encode(content), status, headers)


def completion_response(content: object, attempts: Sequence[Attempt]) -> JsonResponse:
    """A model's whole answer, with how many tries it took."""
    return json_response(content, headers=[_tries(attempts)])


def error_response(
    error: LakehouseError, content: object, status: int | None = None, headers: Headers | None = None
) -> JsonResponse:
    """A failure's answer; `status` and `headers` are the failure's own unless given."""
    headers = error.headers() if headers is None else headers
    return json_response(content, status or error.status, [*headers, _tries(error.attempts)])


def _tries(attempts: Sequence[Attempt]) -> tuple[str, str]:
    return ATTEMPTS.decode(), str(len(attempts))
