"""What follows from a failed attempt: a retry of the same route, the next route, or an error for the caller.

One table, and the functions that read it. `retry_backoff` decides how long a retry waits.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from lakehouse.chat.dialects.schema.validate import SchemaMismatch
from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrUnavailable, LakehouseError
from lakehouse.core.failure_classes import ErrorClass


class FailureRule(NamedTuple):
    """The consequences of a failure.

    `retries`: how often the same route may be tried again, within what the policy allows. `try_next_route`: the next
    route may answer. `counts`: the failure is the route's, so its circuit breaker counts it. `notice`: a log line for
    the operator, for what only the operator can correct. `try_replicas`: another host or key of the same provider may
    answer.
    """

    retries: float = 0
    try_next_route: bool = True
    counts: bool = True
    notice: str = ""
    try_replicas: bool = True


RETRY = FailureRule(retries=inf)
RETRY_ONCE = FailureRule(retries=1)
NEXT_ROUTE = FailureRule()
CLIENT_ERROR = FailureRule(try_next_route=False, counts=False)
LOCAL_OVERLOAD = FailureRule(counts=False)
NOT_EXPRESSIBLE = FailureRule(counts=False, try_replicas=False)
SCHEMA_MISMATCH = FailureRule(retries=1, counts=False)

FAILURE_RULES: dict[ErrorClass, FailureRule] = {
    # Transient: the same route may answer in a moment.
    "rate_limit": RETRY,
    "overloaded": RETRY,
    "upstream_error": RETRY,
    "server_error": RETRY,
    "timeout": RETRY,
    # An answer was generated and lost. Generating it costs money, so there is one retry.
    "empty_response": RETRY_ONCE,
    "incomplete_stream": RETRY_ONCE,
    # The provider refuses this service, and will refuse it again.
    "auth": FailureRule(notice="rejected the key"),
    "billing": FailureRule(notice="requires payment"),
    "quota": FailureRule(notice="has no quota left for this account"),
    "entitlement": FailureRule(notice="does not include this model in the plan of this account"),
    "client_not_allowed": FailureRule(notice="does not allow this client"),
    "forbidden": FailureRule(notice="denied access"),
    "missing_header": FailureRule(counts=False, notice="requires a header that was not sent", try_replicas=False),
    "wrong_endpoint": FailureRule(counts=False, notice="serves this model on another endpoint", try_replicas=False),
    # The name is the caller's; another route may have the model.
    "model_not_found": FailureRule(counts=False),
    # Another model may have a larger context.
    "context_overflow": FailureRule(counts=False, try_replicas=False),
    # Any other model would get the same invalid request, or would be used to get around a refusal.
    "bad_request": CLIENT_ERROR,
    "unsupported_parameter": CLIENT_ERROR,
    "content_policy": CLIENT_ERROR,
}


def rule_for(error: LakehouseError) -> FailureRule:
    """The rule for a failure. There is no retry of an error whose `retryable` is false."""
    if isinstance(error, SchemaMismatch):
        return SCHEMA_MISMATCH  # the route works; the model did not follow the schema, and may the next time
    if error.error_class is None and isinstance(error, ErrBadRequest):
        return NOT_EXPRESSIBLE  # nothing was sent: the route's dialect cannot express the request, another's may
    if error.error_class is None:
        return LOCAL_OVERLOAD if isinstance(error, ErrUnavailable) else CLIENT_ERROR
    if isinstance(error, ErrTimeout) and error.upstream_status is None:
        return NEXT_ROUTE  # the route sent nothing in time; a retry would probably end alike
    rule = FAILURE_RULES[error.error_class]
    return rule if error.retryable or not rule.retries else rule._replace(retries=0)


def is_connection_lost(error: LakehouseError) -> bool:
    """Whether the connection failed, in contrast to a response of the provider that reports a failure."""
    return error.error_class in ("upstream_error", "incomplete_stream") and (error.upstream_status or 0) < 300


def choose_error(before: LakehouseError | None, error: LakehouseError) -> LakehouseError:
    """Return the failure to report of two: the later one, unless the dialect of its route could not express the
    request."""
    return error if before is None or rule_for(error) is not NOT_EXPRESSIBLE else before
