"""Errors in OpenAI's envelope, with the statuses and codes by which its SDKs choose an exception.

| status | the SDKs raise | when |
|---|---|---|
| 400 | `BadRequestError` | the request; `context_length_exceeded`, `content_filter`, `session_stopped` are codes |
| 401, 403 | `AuthenticationError`, `PermissionDeniedError` | the service's own authentication, never an upstream's |
| 404 | `NotFoundError` | `model_not_found`: an unknown provider, or an unknown model of a provider |
| 413 | `APIStatusError` | the body is too large |
| 429 | `RateLimitError` | `rate_limit_exceeded`, or `insufficient_quota`, which no waiting repairs |
| 5xx | `InternalServerError` | an upstream, a deadline, or this service |
"""

from __future__ import annotations

from typing import NamedTuple

from lakehouse.chat.api.errors import find_error_object, find_message, find_report
from lakehouse.chat.dialects.lenient_json import as_string
from lakehouse.chat.model.raw_request import ClientForm
from lakehouse.core.errors import (
    ErrForbidden,
    ErrProviderNotFound,
    ErrSessionStopped,
    ErrTimeout,
    ErrTooLarge,
    ErrUnauthorized,
    ErrUnavailable,
    ErrUpstream,
    LakehouseError,
)
from lakehouse.core.failure_classes import ErrorClass

OPENAI_PATHS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/models",
    "/v1/embeddings",
    "/chat/completions",
    "/responses",
    "/models",
    "/embeddings",
)
"""The paths that OpenAI's clients call; errors on them have OpenAI's envelope."""


class ErrorKind(NamedTuple):
    """OpenAI's type and code for an error; `status` and `param` replace those of the error, if given."""

    type: str
    code: str | None
    status: int | None = None
    param: str | None = None


BY_CLASS: dict[ErrorClass, ErrorKind] = {
    "model_not_found": ErrorKind("invalid_request_error", "model_not_found", status=404, param="model"),
    "context_overflow": ErrorKind("invalid_request_error", "context_length_exceeded", param="messages"),
    "content_policy": ErrorKind("invalid_request_error", "content_filter"),
    "unsupported_parameter": ErrorKind("invalid_request_error", "unsupported_parameter"),
    "bad_request": ErrorKind("invalid_request_error", None),
    "rate_limit": ErrorKind("rate_limit_error", "rate_limit_exceeded"),
    "quota": ErrorKind("insufficient_quota", "insufficient_quota"),
}
"""Provider error classes that OpenAI has codes for; any other is a `server_error` with the class as its code."""

BY_ERROR: dict[type[LakehouseError], ErrorKind] = {
    ErrSessionStopped: ErrorKind("invalid_request_error", "session_stopped"),
    ErrUnauthorized: ErrorKind("invalid_request_error", "invalid_api_key"),
    ErrForbidden: ErrorKind("invalid_request_error", "forbidden"),
    ErrProviderNotFound: ErrorKind("invalid_request_error", "model_not_found", param="model"),
    ErrTooLarge: ErrorKind("invalid_request_error", "request_too_large"),
    ErrUpstream: ErrorKind("server_error", "upstream_error"),
    ErrUnavailable: ErrorKind("server_error", "unavailable"),
    ErrTimeout: ErrorKind("server_error", "timeout"),
}
"""Errors without a class; any other 4xx is an `invalid_request_error` without a code."""


def find_kind(error: LakehouseError) -> ErrorKind:
    """OpenAI's type and code for an error."""
    if error.error_class is not None:
        return BY_CLASS.get(error.error_class) or ErrorKind("server_error", error.error_class)
    unnamed = (
        ErrorKind("invalid_request_error", None) if error.status < 500 else ErrorKind("server_error", "internal_error")
    )
    return BY_ERROR.get(type(error), unnamed)


def find_status(error: LakehouseError) -> int:
    """The HTTP status of the response."""
    return find_kind(error).status or error.status


def make_envelope(
    error: LakehouseError, request_id: str | None, form: ClientForm = "chat_completions"
) -> dict[str, object]:
    """`{"error": {"message", "type", "param", "code"}}`, then the fields of the native form but `code`, and
    `retry_after` in seconds if the error has one: a long one is in no header.

    If the upstream speaks the client's form, the message is its own, and its further fields come last; its `code` and
    `param` are used where this service has none.
    """
    kind = find_kind(error)
    native = error.document(request_id)["error"]
    assert isinstance(native, dict)  # noqa: S101  # for mypy
    theirs = find_error_object(find_report(error, form))
    openai = {
        "message": find_message(error, form),
        "type": kind.type,
        "param": error.field or kind.param or as_string(theirs.get("param")) or None,
        "code": kind.code or as_string(theirs.get("code")) or None,
    }
    own = {**openai, **native, **openai, "status": find_status(error)}
    if error.retry_after is not None:
        own["retry_after"] = error.retry_after
    return {"error": own | {name: value for name, value in theirs.items() if name not in own}}
