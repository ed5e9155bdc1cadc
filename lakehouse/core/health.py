"""How a part of the service is, as it says itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class HealthStatus(Enum):
    """`DEGRADED` parts still answer, more slowly or less completely; `UNAVAILABLE` ones cannot."""

    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A status, and the reason in a sentence where it is not OK. `retry_after` is in seconds, None if nobody knows."""

    status: HealthStatus = HealthStatus.OK
    reason: str = ""
    retry_after: float | None = None


HEALTHY = Health()
