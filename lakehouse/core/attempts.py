"""One attempt of a request at one provider, as telemetry and error documents show it."""

from __future__ import annotations

from typing import Literal

import msgspec

from lakehouse.core.errors import Attempt
from lakehouse.core.failure_classes import ERROR_CLASSES, ErrorClass

AttemptReason = Literal["first", "retry", "fallback", "hedge", "resume"]
"""Why an attempt was made; `resume` continues a stream that broke half-way."""


class AttemptRecord(msgspec.Struct, eq=False, kw_only=True, omit_defaults=True):
    """One attempt, while it runs (`ended` is None) and after.

    Times are of trio's clock, in seconds. `status` is the provider's HTTP status; `error` is a class of failure, None
    for the attempt that answered. `span_id` is the span that a `traceparent` sent with the attempt names as parent.
    `replica` is which of several hosts and keys of the provider was asked.
    """

    upstream: str
    model: str
    started: float
    why: AttemptReason = "first"
    ended: float | None = None
    first_piece: float | None = None
    status: int | None = None
    error: str | None = None
    span_id: int = 0
    replica: str = ""

    def to_error_entry(self, abandoned_as: ErrorClass | None = None, *, now: float | None = None) -> Attempt:
        """The attempt as answers and errors list it; `abandoned_as` is its class when it has not failed by itself.

        A running attempt is listed with its time until `now`, or with none.
        """
        ended = now if self.ended is None else self.ended
        known = None if self.error is None else next((name for name in ERROR_CLASSES if name == self.error), None)
        return Attempt(
            provider=self.upstream,
            model=self.model,
            status=self.status,
            error=known or abandoned_as,
            ms=0.0 if ended is None else round((ended - self.started) * 1000, 3),
        )

    def describe(self, now: float) -> dict[str, object]:
        """The attempt as `GET /v1/requests` shows it; `age` is how long it has run or ran, in seconds."""
        replica = {"replica": self.replica} if self.replica else {}
        return {
            "upstream": self.upstream,
            **replica,
            "model": self.model,
            "why": self.why,
            "age": round((now if self.ended is None else self.ended) - self.started, 3),
            "running": self.ended is None,
            "status": self.status,
            "error": self.error,
        }
