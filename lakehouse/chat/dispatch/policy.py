"""What is done about a failure: asked again, passed on to the next route, or given back to the caller.

Everything that decides is here, as one table and two functions over it.
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import NamedTuple

from lakehouse.chat.dialects.schema.validate import SchemaMismatch
from lakehouse.config import PolicyTable
from lakehouse.core.errors import ErrBadRequest, ErrTimeout, ErrUnavailable, LakehouseError
from lakehouse.core.failure_classes import ErrorClass

MAX_BACKOFF = 60.0
"""Seconds. Doubling ends here: a longer pause would outlive the patience of any caller."""


class FailureRule(NamedTuple):
    """What follows from a failure of one class.

    `retries`: how often the same route may be asked again, in addition to what the policy allows. `onward`: the next
    route may be asked. `counts`: it speaks of the route, so its circuit counts it. `notice`: what the operator is told,
    because only the operator can mend it.
    """

    retries: float = 0
    onward: bool = True
    counts: bool = True
    notice: str = ""


AGAIN = FailureRule(retries=inf)
RETRY_ONCE = FailureRule(retries=1)
LEAVE = FailureRule()
CLIENT_ERROR = FailureRule(onward=False, counts=False)
LOCAL_OVERLOAD = FailureRule(counts=False)
NO_PLACE = FailureRule(counts=False)
MISFIT = FailureRule(retries=1, counts=False)

FAILURE_RULES: dict[ErrorClass, FailureRule] = {
    # Passing troubles: the same route may do better in a moment.
    "rate_limit": AGAIN,
    "overloaded": AGAIN,
    "upstream_error": AGAIN,
    "server_error": AGAIN,
    "timeout": AGAIN,
    # An answer was made and lost. Making it costs money, so it is asked for only once more.
    "empty_response": RETRY_ONCE,
    "incomplete_stream": RETRY_ONCE,
    # The provider will not serve us, however often we ask.
    "auth": FailureRule(notice="refused the key"),
    "billing": FailureRule(notice="wants to be paid first"),
    "quota": FailureRule(notice="has no quota left for us"),
    "entitlement": FailureRule(notice="does not include this model in our plan"),
    "client_not_allowed": FailureRule(notice="does not allow this client"),
    "forbidden": FailureRule(notice="forbids this"),
    "missing_header": FailureRule(counts=False, notice="misses a header"),
    "wrong_endpoint": FailureRule(counts=False, notice="serves this model on another endpoint"),
    # The name came from the caller; another route may know it.
    "model_not_found": FailureRule(counts=False),
    # Another model may have more room.
    "context_overflow": FailureRule(counts=False),
    # Another model would be asked the same wrong thing, or would be a way around a refusal.
    "bad_request": CLIENT_ERROR,
    "unsupported_parameter": CLIENT_ERROR,
    "content_policy": CLIENT_ERROR,
}


def rule_for(error: LakehouseError) -> FailureRule:
    """The rule for a failure. An error that says itself that it is not retryable is not retried."""
    if isinstance(error, SchemaMismatch):
        return MISFIT  # the route works; the model did not do as it was told, and may do so the next time
    if error.error_class is None and isinstance(error, ErrBadRequest):
        return NO_PLACE  # nothing was sent: the form of the route has no place for it, and the next one's may have
    if error.error_class is None:
        return LOCAL_OVERLOAD if isinstance(error, ErrUnavailable) else CLIENT_ERROR
    if isinstance(error, ErrTimeout) and error.upstream_status is None:
        return LEAVE  # silence, not an answer that says "timeout": asking again would be as silent
    rule = FAILURE_RULES[error.error_class]
    return rule if error.retryable or not rule.retries else rule._replace(retries=0)


def lost_connection(error: LakehouseError) -> bool:
    """Whether the failure is that of a connection, and not an answer of the provider's that says it failed."""
    return error.error_class in ("upstream_error", "incomplete_stream") and (error.upstream_status or 0) < 300


def worth_telling(before: LakehouseError | None, error: LakehouseError) -> LakehouseError:
    """Which of two failures the caller is told of: the later one, except that what a route that was asked failed with
    says more than that another could not be asked."""
    return error if before is None or rule_for(error) is not NO_PLACE else before


def backoff_delay(retry: int, error: LakehouseError, policy: PolicyTable, random: Random) -> float | None:
    """How long to wait, in seconds, before retry number `retry` (from 1) on the same route; None: leave the route.

    The back-off doubles and is fully jittered. A `Retry-After` is waited out in full with the jitter on top, for
    everybody who was refused in the same moment was told the same second.
    """
    allowed = min(rule_for(error).retries, policy.retries)
    told = error.retry_after or 0.0
    if retry > allowed or told > policy.max_retry_after:
        return None
    ceiling = min(policy.backoff * 2 ** min(retry - 1, 64), MAX_BACKOFF)
    return told + random.uniform(0, ceiling)
