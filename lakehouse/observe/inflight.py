"""The requests in flight, as their lifelines know them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf


@dataclass(slots=True, eq=False, kw_only=True)
class Flight:
    """One request from its head to its end; the rooms it passes through write down what they are doing for it.

    Times are of trio's clock, in seconds. `phase` is one of `received`, `queued`, `connecting`, `sending`, `waiting`,
    `backoff`, `streaming`; `route` is the prefix or path that the request matched, never the raw path; `outcome` is
    what ended it: `answered`, `client left`, `deadline`, `drain`, `cancelled` or `failed`.
    """

    id: str
    method: str
    path: str
    started: float
    deadline: float = inf
    route: str = ""
    phase: str = "received"
    upstream: str | None = None
    model: str | None = None
    attempts: int = 0
    status: int | None = None
    outcome: str | None = None
    first_piece: float | None = None
    upstream_seconds: float = 0.0
    notes: dict[str, object] = field(default_factory=dict)

    def describe(self, now: float) -> dict[str, object]:
        """What `GET /v1/requests` shows of it; ages and times left are seconds."""
        return {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "route": self.route,
            "phase": self.phase,
            "upstream": self.upstream,
            "model": self.model,
            "age": round(now - self.started, 3),
            "time_left": None if self.deadline == inf else round(self.deadline - now, 3),
            "attempts": self.attempts,
        }


class InFlight:
    """The set of flights of one service."""

    def __init__(self) -> None:
        self._flights: dict[int, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(tuple(self._flights.values()))

    def add(self, flight: Flight) -> None:
        """Begin to show this flight."""
        self._flights[id(flight)] = flight

    def remove(self, flight: Flight) -> None:
        """Stop showing it; once is enough, twice is harmless."""
        self._flights.pop(id(flight), None)
