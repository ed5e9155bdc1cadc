"""The errors of the embedded services: the contract's document, and OpenAI's envelope where its clients ask."""

from __future__ import annotations

from lakehouse.asgi.middleware.request_runner import native_error_response
from lakehouse.asgi.responses import Response, json_response
from lakehouse.chat.api.openai.errors import OPENAI_PATHS, find_status, make_envelope, make_headers
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError


def error_response(context: RequestContext, failure: LakehouseError) -> Response:
    """The response to a request that fails. On the paths of OpenAI's clients it is OpenAI's envelope."""
    if context.path.startswith(OPENAI_PATHS):
        return json_response(make_envelope(failure, context.id), find_status(failure), make_headers(failure))
    return native_error_response(context, failure)
