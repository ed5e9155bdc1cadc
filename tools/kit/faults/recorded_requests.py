"""What the provider remembers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

MAX_RECORDS = 100_000
"""The provider may run for days."""


@dataclass(slots=True)
class RecordedRequest:
    """One request for a model. Times are seconds on the provider's clock.

    `retry_after` is the Retry-After it was given, `client_left` when the client ended the connection before the answer was out, and
    `ended` whether the provider had done what it does.
    """

    model: str
    form: str
    streams: bool
    at: float
    retry_after: float | None = None
    client_left: float | None = None
    ended: bool = False


class RecordedRequests:
    """All of them, by model."""

    def __init__(self) -> None:
        self._of: defaultdict[str, list[RecordedRequest]] = defaultdict(list)
        self._count = 0

    def add(self, visit: RecordedRequest) -> None:
        """Remember it, if there is room."""
        if self._count < MAX_RECORDS:
            self._count += 1
            self._of[visit.model].append(visit)

    def by_model(self, model: str) -> list[RecordedRequest]:
        """Those of one model, in order."""
        return list(self._of.get(model, ()))
