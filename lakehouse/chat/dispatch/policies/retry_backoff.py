"""The back-off: how long a retry of the same route waits, or that there is none."""

from __future__ import annotations

from random import Random

from lakehouse.chat.dispatch.policies.failure_rules import rule_for
from lakehouse.config import PolicyTable
from lakehouse.core.errors import LakehouseError

MAX_BACKOFF = 60.0
"""Seconds. The back-off doubles up to here: no caller waits longer."""


def backoff_delay(retry: int, error: LakehouseError, policy: PolicyTable, random: Random) -> float | None:
    """Seconds to wait before retry number `retry` (from 1) of the same route; None: no retry.

    The back-off doubles, with full jitter. A `Retry-After` is waited out in full with the jitter on top of it, because
    all clients that were refused in the same moment were given the same time.
    """
    allowed = min(rule_for(error).retries, policy.retries)
    retry_after = error.retry_after or 0.0
    if retry > allowed or retry_after > policy.max_retry_after:
        return None
    ceiling = min(policy.backoff * 2 ** min(retry - 1, 64), MAX_BACKOFF)
    return retry_after + random.uniform(0, ceiling)
