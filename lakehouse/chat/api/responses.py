"""Complete responses of a chat: JSON with the number of attempts in a header."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence

import msgspec

from lakehouse.asgi.middleware.standard_headers import ATTEMPTS, make_server_timing
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.responses import Response, encode_header
from lakehouse.asgi.server_control import full_response
from lakehouse.asgi.types import Send
from lakehouse.core.errors import Attempt, LakehouseError


def completion_response(document: object, attempts: Sequence[Attempt]) -> Response:
    """A model's complete answer."""
    return Response(msgspec.json.encode(document), headers=[_count(attempts)])


def error_response(
    error: LakehouseError, document: object, *, status: int, headers: Iterable[tuple[str, str]]
) -> Response:
    """A failure, with its document and headers in the form of one of the APIs."""
    encoded = [encode_header(header) for header in headers]
    return Response(msgspec.json.encode(document), status, [*encoded, _count(error.attempts)])


def send_response(response: Response, request: RequestScope, send: Send) -> Awaitable[None]:
    """Send a response to `request`: in one message under our own server, in ASGI's two under any other."""
    if request.server is None:
        return response.send_to(send)
    headers = [*response.make_headers(), make_server_timing(request.context)]
    return send(full_response(response.status, headers, response.body))


def _count(attempts: Sequence[Attempt]) -> tuple[bytes, bytes]:
    return ATTEMPTS, b"%d" % len(attempts)
