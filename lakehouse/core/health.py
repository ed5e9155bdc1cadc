"""The health of one part of the service."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class HealthStatus(Enum):
    """A `DEGRADED` part answers requests more slowly or less completely; an `UNAVAILABLE` part rejects them."""

    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A status, and the reason as a sentence if it is not OK. `retry_after` is in seconds, None if it is unknown."""

    status: HealthStatus = HealthStatus.OK
    reason: str = ""
    retry_after: float | None = None


HEALTHY = Health()
