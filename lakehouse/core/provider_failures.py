"""From the class of a provider's failure to the error that the client is sent."""

from __future__ import annotations

from typing import NamedTuple

from lakehouse.core.errors import ErrBadRequest, ErrRateLimited, ErrTimeout, ErrUpstream, LakehouseError
from lakehouse.core.failure_classes import ErrorClass


class ClassFacts(NamedTuple):
    """What follows from a failure class: the exception to raise, and whether the same request may succeed later."""

    error: type[LakehouseError]
    retryable: bool


CLASS_FACTS: dict[ErrorClass, ClassFacts] = {
    "auth": ClassFacts(ErrUpstream, False),
    "billing": ClassFacts(ErrUpstream, False),
    "quota": ClassFacts(ErrRateLimited, False),
    "entitlement": ClassFacts(ErrUpstream, False),
    "client_not_allowed": ClassFacts(ErrUpstream, False),
    "forbidden": ClassFacts(ErrUpstream, False),
    "missing_header": ClassFacts(ErrUpstream, False),
    "wrong_endpoint": ClassFacts(ErrUpstream, False),
    "model_not_found": ClassFacts(ErrUpstream, False),
    "rate_limit": ClassFacts(ErrRateLimited, True),
    "overloaded": ClassFacts(ErrUpstream, True),
    "upstream_error": ClassFacts(ErrUpstream, True),
    "server_error": ClassFacts(ErrUpstream, True),
    "timeout": ClassFacts(ErrTimeout, True),
    "context_overflow": ClassFacts(ErrBadRequest, False),
    "unsupported_parameter": ClassFacts(ErrBadRequest, False),
    "bad_request": ClassFacts(ErrBadRequest, False),
    "content_policy": ClassFacts(ErrBadRequest, False),
    "empty_response": ClassFacts(ErrUpstream, True),
    "incomplete_stream": ClassFacts(ErrUpstream, True),
}
"""The class decides the status of our response, not the status of the upstream's: an overload that was sent as 429 is a
502, an exhausted quota that was sent as 403 is a 429."""


def failure(
    error_class: ErrorClass,
    message: str,
    *,
    provider: str | None = None,
    upstream_status: int | None = None,
    retryable: bool | None = None,
    retry_after: float | None = None,
) -> LakehouseError:
    """Build the exception for a failure of this class. `retryable` None: as `CLASS_FACTS` has it."""
    facts = CLASS_FACTS[error_class]
    return facts.error(
        message,
        provider=provider,
        upstream_status=upstream_status,
        error_class=error_class,
        retryable=facts.retryable if retryable is None else retryable,
        retry_after=retry_after,
    )
