"""What the provider remembers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

MAX_VISITS = 100_000
"""The provider may run for days."""


@dataclass(slots=True)
class Visit:
    """One request for a model. Times are seconds on the provider's clock.

    `told` is the Retry-After it was given, `left` when the client ended the connection before the answer was out, and
    `ended` whether the provider had done what it does.
    """

    model: str
    form: str
    streams: bool
    at: float
    told: float | None = None
    left: float | None = None
    ended: bool = False


class Visits:
    """All of them, by model."""

    def __init__(self) -> None:
        self._of: defaultdict[str, list[Visit]] = defaultdict(list)
        self._count = 0

    def add(self, visit: Visit) -> None:
        """Remember it, if there is room."""
        if self._count < MAX_VISITS:
            self._count += 1
            self._of[visit.model].append(visit)

    def of(self, model: str) -> list[Visit]:
        """Those of one model, in order."""
        return list(self._of.get(model, ()))
