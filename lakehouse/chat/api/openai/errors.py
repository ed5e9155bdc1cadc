"""Errors in OpenAI's envelope, with the statuses and codes by which its SDKs choose an exception.

| status | the SDKs raise | when |
|---|---|---|
| 400 | `BadRequestError` | the request; `context_length_exceeded` and `content_filter` are among the codes |
| 401, 403 | `AuthenticationError`, `PermissionDeniedError` | the service's own authentication, never an upstream's |
| 404 | `NotFoundError` | `model_not_found`: an unknown provider, or an unknown model of a provider |
| 413 | `APIStatusError` | the body is too large |
| 429 | `RateLimitError` | `rate_limit_exceeded`, or `insufficient_quota`, which no waiting repairs |
| 5xx | `InternalServerError` | an upstream, a deadline, or this service |
"""

from __future__ import annotations

from typing import NamedTuple

from lakehouse.core.errors import (
    ErrForbidden,
    ErrProviderNotFound,
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
    "/v1/models",
    "/v1/embeddings",
    "/chat/completions",
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


def make_envelope(error: LakehouseError, request_id: str | None) -> dict[str, object]:
    """`{"error": {"message", "type", "param", "code"}}`, then the fields of the native form but `code`."""
    kind = find_kind(error)
    native = error.document(request_id)["error"]
    assert isinstance(native, dict)  # noqa: S101  # for mypy
    openai = {"message": error.message, "type": kind.type, "param": error.field or kind.param, "code": kind.code}
    return {"error": {**openai, **native, **openai, "status": find_status(error)}}


def make_headers(error: LakehouseError) -> list[tuple[str, str]]:
    """The error's headers, and `x-should-retry: false` for one that a retry cannot repair.

    Without that header OpenAI's SDKs retry every 429 and 5xx, a spent quota and a rejected provider key among them.
    """
    permanent = error.error_class is not None and not error.retryable
    return [*error.headers(), ("x-should-retry", "false")] if permanent else error.headers()
