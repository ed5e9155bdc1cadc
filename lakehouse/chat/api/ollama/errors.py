"""Errors in Ollama's form: `{"error": "..."}`, whole and as the last line of a stream.

The status is OpenAI's for the same error: an unknown model is 404 in both, which Ollama's clients take for a model that
has not been pulled.
"""

from __future__ import annotations

import msgspec

from lakehouse.asgi.responses import Response, json_response
from lakehouse.asgi.sse import escape_line_ends
from lakehouse.chat.api.errors import find_message
from lakehouse.chat.api.openai.errors import find_status
from lakehouse.chat.api.responses import error_response
from lakehouse.core.errors import LakehouseError


def render_error(error: LakehouseError) -> Response:
    """The response of an endpoint to a request that failed before its response had begun."""
    return error_response(error, _make_document(error), status=find_status(error), headers=error.headers())


def render_outer_error(error: LakehouseError) -> Response:
    """The response to a request that failed outside of an endpoint, where the number of attempts is added later."""
    return json_response(_make_document(error), find_status(error), error.headers())


def encode_error_line(error: LakehouseError) -> bytes:
    """The last line of a stream that was cut short. Clients raise it in place of the end that is missing."""
    return escape_line_ends(msgspec.json.encode(_make_document(error))) + b"\n"


def _make_document(error: LakehouseError) -> dict[str, str]:
    return {"error": find_message(error, "ollama")}
