"""Errors in Anthropic's envelope, with the statuses and types by which its SDKs choose an exception.

| status | type | the SDKs raise | when |
|---|---|---|---|
| 400 | `invalid_request_error` | `BadRequestError` | the request |
| 401 | `authentication_error` | `AuthenticationError` | the service's own authentication, never an upstream's |
| 403 | `permission_error` | `PermissionDeniedError` | the network or the page may not connect |
| 404 | `not_found_error` | `NotFoundError` | an unknown provider or model |
| 413 | `request_too_large` | `ContentTooLargeError` | the body is too large |
| 429 | `rate_limit_error` | `RateLimitError` | a provider's rate limit, or a spent quota |
| 504 | `timeout_error` | `GatewayTimeoutError` | a deadline |
| 529 | `overloaded_error` | `OverloadedError` | a provider that is overloaded |
| other 5xx | `api_error` | `InternalServerError` | an upstream, or this service |
"""

from __future__ import annotations

from typing import NamedTuple

from lakehouse.asgi.responses import Response, encode_header
from lakehouse.chat.api.errors import find_message, find_report, make_retry_headers
from lakehouse.chat.api.responses import count_attempts, error_response
from lakehouse.chat.dialects.lenient_json import as_object, as_string, decode_json
from lakehouse.core.errors import LakehouseError
from lakehouse.core.failure_classes import ErrorClass

CONTEXT_OVERFLOW = "prompt is too long"
"""Claude Code shortens the conversation and repeats the request if the message has these words."""


class ErrorKind(NamedTuple):
    """Anthropic's type for an error; `status` replaces that of the error, if given."""

    type: str
    status: int | None = None


BY_CLASS: dict[ErrorClass, ErrorKind] = {
    "model_not_found": ErrorKind("not_found_error", 404),
    "overloaded": ErrorKind("overloaded_error", 529),
}
"""Provider error classes that have a status of their own."""

BY_STATUS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
"""Any other 4xx is an `invalid_request_error`, any other 5xx an `api_error`."""


def find_kind(error: LakehouseError) -> ErrorKind:
    """Anthropic's type for an error."""
    if error.error_class in BY_CLASS:
        return BY_CLASS[error.error_class]
    unnamed = "invalid_request_error" if error.status < 500 else "api_error"
    return ErrorKind(BY_STATUS.get(error.status, unnamed))


def make_envelope(error: LakehouseError, request_id: str | None) -> dict[str, object]:
    """`{"type": "error", "error": {"type", "message"}, "request_id"}`, with `details` in the error if it has any."""
    message = find_message(error, "messages")
    if error.error_class == "context_overflow" and CONTEXT_OVERFLOW not in message.lower():
        message = f"{CONTEXT_OVERFLOW}: {message}"
    described: dict[str, object] = {"type": find_kind(error).type, "message": message}
    if error.details is not None:
        described["details"] = dict(error.details)
    return {"type": "error", "error": described, "request_id": request_id}


def find_relayed_envelope(error: LakehouseError) -> bytes:
    """The envelope of the upstream, if it speaks this form: Claude Code matches its words. Empty if there is none."""
    report = find_report(error, "messages")
    if report is None or not report.body:
        return b""
    envelope = as_object(decode_json(report.body))
    described = as_object(envelope.get("error"))
    kind, message = as_string(described.get("type")), as_string(described.get("message"))
    if envelope.get("type") != "error" or not kind or not message:
        return b""
    if error.error_class == "context_overflow" and CONTEXT_OVERFLOW not in message.lower():
        return b""
    return report.body


def render_error(error: LakehouseError, request_id: str) -> Response:
    """The response to a request that failed before its response had begun."""
    headers = [*make_retry_headers(error), ("request-id", request_id)]
    status = find_kind(error).status or error.status
    if relayed := find_relayed_envelope(error):
        encoded = [encode_header(header) for header in headers]
        return Response(relayed, status, [*encoded, count_attempts(error.attempts)])
    return error_response(error, make_envelope(error, request_id), status=status, headers=headers)
