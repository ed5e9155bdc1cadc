"""Complete responses of a chat: JSON with the number of attempts in a header."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence

import msgspec

from lakehouse.asgi.middleware.standard_headers import ATTEMPTS, PROVIDER, make_server_timing
from lakehouse.asgi.request_scope import RequestScope
from lakehouse.asgi.responses import Response, encode_header
from lakehouse.asgi.server_control import full_response
from lakehouse.asgi.types import HeaderPairs, Send
from lakehouse.chat.api.protocols import ApiFormat
from lakehouse.chat.model.answer import RelayedAnswer
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import Attempt, LakehouseError


def completion_response(document: object, attempts: Sequence[Attempt], headers: HeaderPairs = ()) -> Response:
    """A model's complete answer, with further `headers`."""
    return Response(msgspec.json.encode(document), headers=[count_attempts(attempts), *headers])


def relayed_response(answer: RelayedAnswer, headers: HeaderPairs = ()) -> Response:
    """An answer in the client's own form, as its provider sent it, with further `headers`. They have what other answers
    have in the body."""
    facts = [count_attempts(answer.attempts), (PROVIDER, answer.provider.encode())]
    return Response(answer.body, headers=[*facts, *headers])


def name_request(api_format: ApiFormat, context: RequestContext) -> HeaderPairs:
    """The request's id in the header of the form, if it has one of its own."""
    return [(api_format.id_header, context.id.encode())] if api_format.id_header else ()


def error_response(
    error: LakehouseError, document: object, *, status: int, headers: Iterable[tuple[str, str]]
) -> Response:
    """A failure, with its document and headers in the form of one of the APIs."""
    encoded = [encode_header(header) for header in headers]
    return Response(msgspec.json.encode(document), status, [*encoded, count_attempts(error.attempts)])


def send_response(response: Response, request: RequestScope, send: Send) -> Awaitable[None]:
    """Send a response to `request`: in one message under our own server, in ASGI's two under any other."""
    if request.server is None:
        return response.send_to(send)
    headers = [*response.make_headers(), make_server_timing(request.context)]
    return send(full_response(response.status, headers, response.body))


def count_attempts(attempts: Sequence[Attempt]) -> tuple[bytes, bytes]:
    """The header with the number of attempts."""
    return ATTEMPTS, b"%d" % len(attempts)
