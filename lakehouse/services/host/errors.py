"""The errors of the embedded services: the contract's document, and OpenAI's envelope where its clients ask."""

from __future__ import annotations

from lakehouse.asgi.middleware.request_runner import native_error_response
from lakehouse.asgi.responses import Response, json_response
from lakehouse.chat.api.errors import make_retry_headers
from lakehouse.chat.api.openai.errors import OPENAI_PATHS, find_status, make_envelope
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError

ANTHROPIC_PATHS = ("/v1/messages", "/messages")
"""The paths that Anthropic's clients alone call; errors on them have Anthropic's envelope."""


def error_response(context: RequestContext, failure: LakehouseError) -> Response:
    """The response to a request that fails. On the paths of OpenAI's clients it is OpenAI's envelope."""
    if context.path.startswith(OPENAI_PATHS):
        return json_response(make_envelope(failure, context.id), find_status(failure), make_retry_headers(failure))
    if context.path.startswith(ANTHROPIC_PATHS):
        from lakehouse.chat.api.anthropic.errors import render_error  # for the services that have such clients

        return render_error(failure, context.id)
    return native_error_response(context, failure)
