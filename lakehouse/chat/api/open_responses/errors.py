"""How a Responses request fails: its errors in OpenAI's envelope, and `response.failed` in a stream.

Codex asks again after most failures, up to thirty times after a 5xx; the routes have been tried by then. It stops at
400 and 429, and in a stream at the codes below, of which `invalid_prompt` shows our message. SDKs read the status of a
request for a whole answer, and `x-should-retry`.
"""

from __future__ import annotations

from lakehouse.asgi.responses import Response
from lakehouse.chat.api.errors import find_message, make_retry_headers
from lakehouse.chat.api.openai.errors import find_status, make_envelope
from lakehouse.chat.api.responses import error_response
from lakehouse.chat.dialects.lenient_json import JsonObject
from lakehouse.core.errors import ErrProviderNotFound, LakehouseError
from lakehouse.core.failure_classes import ErrorClass

STOPPING_CODE = "invalid_prompt"
"""The code after which a client shows the message and does not ask again."""

CODES: dict[ErrorClass, str] = {
    "context_overflow": "context_length_exceeded",
    "quota": "insufficient_quota",
    "billing": "insufficient_quota",
    "model_not_found": "model_not_found",
}
"""Codes of `response.failed` for which clients have a text or an action of their own. They stop at them as well."""

PLAIN_STATUSES = frozenset({400, 429})
"""Statuses with which a request for a stream may fail. Any other failure is the end of a stream."""


def build_error(error: LakehouseError) -> JsonObject:
    """Return the `error` of a failed response."""
    if isinstance(error, ErrProviderNotFound):
        code = "model_not_found"
    else:
        code = STOPPING_CODE if error.error_class is None else CODES.get(error.error_class, STOPPING_CODE)
    return {"code": code, "message": find_message(error, "responses")}


def render_error(error: LakehouseError, request_id: str) -> Response:
    """Return the response to a request that failed before its response had begun."""
    document = make_envelope(error, request_id, "responses")
    envelope = document["error"]
    assert isinstance(envelope, dict)  # noqa: S101 - for mypy
    if envelope["code"] is None and error.status == 400:
        envelope["code"] = STOPPING_CODE
    if envelope["param"] == "messages":
        envelope["param"] = "input"
    return error_response(error, document, status=find_status(error), headers=make_retry_headers(error))
