"""`POST /v1/messages/count_tokens`: an estimate, because no tokenizer of the providers' models is here."""

from __future__ import annotations

from lakehouse.asgi import request_scope
from lakehouse.asgi.body import BodyLimits, receive_body
from lakehouse.asgi.json_body import convert_json, decode_json
from lakehouse.asgi.responses import Response, json_response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.chat.api.anthropic.errors import render_error
from lakehouse.chat.api.anthropic.tokens import estimate_tokens
from lakehouse.chat.api.anthropic.types import CountTokensParams
from lakehouse.chat.api.errors import to_client_error
from lakehouse.chat.api.responses import send_response

ESTIMATED = ("x-lakehouse-estimated", "input_tokens")
"""The response header that names the counts which no provider has made."""


class CountTokensEndpoint:
    """The ASGI application for POST on the path, inside of `RequestLifetimeMiddleware`."""

    def __init__(self, *, max_body: int, timeout: float) -> None:
        """`max_body` is in bytes, `timeout` of the reading of the body in seconds."""
        self._limits = BodyLimits(max_size=max_body, timeout=timeout)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_scope.get(scope)
        try:
            response = _count(await receive_body(scope, receive, self._limits))
        except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001  # `to_client_error` raises, returns or logs it
            error = to_client_error(raised)
            request.context.record_error(error)
            response = render_error(error, request.context.id)
        await send_response(response, request, send)


def _count(body: bytes) -> Response:
    document = decode_json(body, dict)
    convert_json(document, CountTokensParams)
    return json_response({"input_tokens": estimate_tokens(document)}, headers=[ESTIMATED])
