"""The classes of failures of providers and upstreams. What follows from each is in `provider_failures`."""

from __future__ import annotations

from typing import Literal, get_args

ErrorClass = Literal[
    "auth",
    "billing",
    "quota",
    "entitlement",
    "client_not_allowed",
    "forbidden",
    "missing_header",
    "wrong_endpoint",
    "model_not_found",
    "rate_limit",
    "overloaded",
    "upstream_error",
    "server_error",
    "timeout",
    "context_overflow",
    "unsupported_parameter",
    "bad_request",
    "content_policy",
    "empty_response",
    "incomplete_stream",
]
"""What the failure of a provider or an upstream means, whatever HTTP status it came with."""

ERROR_CLASSES: tuple[ErrorClass, ...] = get_args(ErrorClass)
"""All classes, in the order of the contract."""
