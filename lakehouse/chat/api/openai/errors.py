"""Failures in OpenAI's envelope, with the statuses and codes by which its SDKs choose what they raise.

| status | the SDKs raise | when |
|---|---|---|
| 400 | `BadRequestError` | the request; `context_length_exceeded` and `content_filter` are among the codes |
| 401, 403 | `AuthenticationError`, `PermissionDeniedError` | our own door, never an upstream's |
| 404 | `NotFoundError` | `model_not_found`: no such provider here, or no such model there |
| 413 | `APIStatusError` | the body is too large |
| 429 | `RateLimitError` | `rate_limit_exceeded`, or `insufficient_quota`, which waiting does not mend |
| 5xx | `InternalServerError` | the upstream, time, or we |
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

OPENAI_PATHS = ("/v1/chat/completions", "/v1/models", "/chat/completions", "/models")
"""Where OpenAI's clients ask, and get their failures in OpenAI's envelope."""


class Kind(NamedTuple):
    """How a failure is called in OpenAI's words; `status` and `param` replace the failure's own."""

    type: str
    code: str | None
    status: int | None = None
    param: str | None = None


BY_CLASS: dict[ErrorClass, Kind] = {
    "model_not_found": Kind("invalid_request_error", "model_not_found", status=404, param="model"),
    "context_overflow": Kind("invalid_request_error", "context_length_exceeded", param="messages"),
    "content_policy": Kind("invalid_request_error", "content_filter"),
    "unsupported_parameter": Kind("invalid_request_error", "unsupported_parameter"),
    "bad_request": Kind("invalid_request_error", None),
    "rate_limit": Kind("rate_limit_error", "rate_limit_exceeded"),
    "quota": Kind("insufficient_quota", "insufficient_quota"),
}
"""The classes that OpenAI has words for; any other is a `server_error` with the class as its code."""

BY_ERROR: dict[type[LakehouseError], Kind] = {
    ErrUnauthorized: Kind("invalid_request_error", "invalid_api_key"),
    ErrForbidden: Kind("invalid_request_error", "forbidden"),
    ErrProviderNotFound: Kind("invalid_request_error", "model_not_found", param="model"),
    ErrTooLarge: Kind("invalid_request_error", "request_too_large"),
    ErrUpstream: Kind("server_error", "upstream_error"),
    ErrUnavailable: Kind("server_error", "unavailable"),
    ErrTimeout: Kind("server_error", "timeout"),
}
"""For failures without a class; any other 4xx is an `invalid_request_error` without a code."""


def kind_of(error: LakehouseError) -> Kind:
    """What OpenAI would call it."""
    if error.error_class is not None:
        return BY_CLASS.get(error.error_class) or Kind("server_error", error.error_class)
    unnamed = Kind("invalid_request_error", None) if error.status < 500 else Kind("server_error", "internal_error")
    return BY_ERROR.get(type(error), unnamed)


def status_of(error: LakehouseError) -> int:
    """The HTTP status of the answer."""
    return kind_of(error).status or error.status


def envelope(error: LakehouseError, request_id: str | None) -> dict[str, object]:
    """`{"error": {"message", "type", "param", "code"}}`, and after these our own fields but `code`."""
    kind = kind_of(error)
    ours = error.document(request_id)["error"]
    assert isinstance(ours, dict)  # noqa: S101  # for mypy
    openai = {"message": error.message, "type": kind.type, "param": error.field or kind.param, "code": kind.code}
    return {"error": {**openai, **ours, **openai, "status": status_of(error)}}


def headers_of(error: LakehouseError) -> list[tuple[str, str]]:
    """The failure's headers, and for one that no second try can mend, the word by which OpenAI's SDKs make none.

    They retry every 429 and 5xx otherwise: a spent quota or a bad key of ours three times over.
    """
    hopeless = error.error_class is not None and not error.retryable
    return [*error.headers(), ("x-should-retry", "false")] if hopeless else error.headers()
