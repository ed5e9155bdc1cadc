"""From the class of a provider's failure to the error that the client is sent."""

from __future__ import annotations

from typing import NamedTuple

from lakehouse.core.errors import ErrBadRequest, ErrRateLimited, ErrTimeout, ErrUpstream, LakehouseError
from lakehouse.core.failure_classes import ErrorClass


class FailureMeaning(NamedTuple):
    """What follows from a failure class: the exception to raise, and whether the same request may succeed later."""

    error: type[LakehouseError]
    retryable: bool


FAILURE_MEANINGS: dict[ErrorClass, FailureMeaning] = {
    "auth": FailureMeaning(ErrUpstream, False),
    "billing": FailureMeaning(ErrUpstream, False),
    "quota": FailureMeaning(ErrRateLimited, False),
    "entitlement": FailureMeaning(ErrUpstream, False),
    "client_not_allowed": FailureMeaning(ErrUpstream, False),
    "forbidden": FailureMeaning(ErrUpstream, False),
    "missing_header": FailureMeaning(ErrUpstream, False),
    "wrong_endpoint": FailureMeaning(ErrUpstream, False),
    "model_not_found": FailureMeaning(ErrUpstream, False),
    "rate_limit": FailureMeaning(ErrRateLimited, True),
    "overloaded": FailureMeaning(ErrUpstream, True),
    "upstream_error": FailureMeaning(ErrUpstream, True),
    "server_error": FailureMeaning(ErrUpstream, True),
    "timeout": FailureMeaning(ErrTimeout, True),
    "context_overflow": FailureMeaning(ErrBadRequest, False),
    "unsupported_parameter": FailureMeaning(ErrBadRequest, False),
    "bad_request": FailureMeaning(ErrBadRequest, False),
    "content_policy": FailureMeaning(ErrBadRequest, False),
    "empty_response": FailureMeaning(ErrUpstream, True),
    "incomplete_stream": FailureMeaning(ErrUpstream, True),
}
"""The class decides the status of our response, not the status of the upstream's: an overload that was sent as 429 is a
502, an exhausted quota that was sent as 403 is a 429."""


def make_failure(
    error_class: ErrorClass,
    message: str,
    *,
    provider: str | None = None,
    upstream_status: int | None = None,
    retryable: bool | None = None,
    retry_after: float | None = None,
) -> LakehouseError:
    """Build the exception for a failure of this class. `retryable` None: as `FAILURE_MEANINGS` has it."""
    facts = FAILURE_MEANINGS[error_class]
    return facts.error(
        message,
        provider=provider,
        upstream_status=upstream_status,
        error_class=error_class,
        retryable=facts.retryable if retryable is None else retryable,
        retry_after=retry_after,
    )
