"""Circuits: a route that keeps failing is left alone for a while, then tried by one request.

    closed --failures in a row--> open --cooldown passed, one probe goes--> probing --success--> closed
                                    ^-------------------------- failure ------------'

Whoever wants to make an attempt asks for a `CircuitPermit` and ends it in exactly one way. Nothing here waits, so a circuit
needs no task and no lock.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Literal

from lakehouse.chat.providers.routing import Target

logger = logging.getLogger("lakehouse.chat")

State = Literal["closed", "open", "probing"]

MAX_CIRCUITS = 4096
"""Names of models come from callers, so the number of circuits needs a bound; the longest unused one is forgotten."""

FORGET_AFTER = 600.0
"""Seconds (or ten cooldowns, if that is more) after which an open circuit that nobody asked for is forgotten."""


class CircuitPermit:
    """The permission to make one attempt. It ends with `succeeded`, `failed` or `abandoned`; later ends are ignored."""

    __slots__ = ("_circuit", "probe")

    def __init__(self, circuit: CircuitBreaker, *, probe: bool) -> None:
        self._circuit: CircuitBreaker | None = circuit
        self.probe = probe

    def half_close(self) -> None:
        """The answer has begun: a probe has shown enough to let others in, but one more failure opens again."""
        if self._circuit is not None and self.probe:
            self._circuit._half_close()
            self.probe = False

    def succeeded(self) -> None:
        """The route works."""
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            circuit._close()

    def failed(self, reason: str) -> None:
        """The route failed in a way that speaks of it; `reason` is an error class."""
        if circuit := self._end():
            circuit._count(reason, probe=self.probe)

    def abandoned(self) -> None:
        """It was given up before it showed anything: the client left, or another route was faster."""
        if (circuit := self._end()) and self.probe:
            circuit._release()

    def _end(self) -> CircuitBreaker | None:
        circuit, self._circuit = self._circuit, None
        return circuit


class CircuitBreaker:
    """The circuit of one route. `limit` consecutive failures open it; one probe goes `cooldown` seconds later."""

    __slots__ = ("_clock", "_cooldown", "_failures", "_limit", "_opened", "_reason", "state", "target")

    def __init__(self, target: Target, *, limit: float, cooldown: float, clock: Callable[[], float]) -> None:
        self.target = target
        self.state: State = "closed"
        self._limit = limit
        self._cooldown = cooldown
        self._clock = clock
        self._failures = 0
        self._opened = -inf
        self._reason = ""

    def admit(self) -> CircuitPermit | None:
        """A pass for one attempt, or None: the circuit is open, or its probe is under way."""
        if self.state == "closed":
            return CircuitPermit(self, probe=False)
        if not self.admits:
            return None
        self.state = "probing"
        return CircuitPermit(self, probe=True)

    @property
    def admits(self) -> bool:
        """Whether `admit` would give a pass."""
        return self.state == "closed" or (self.state == "open" and self.retry_after <= 0)

    @property
    def retry_after(self) -> float:
        """Seconds until asking again makes sense."""
        if self.state == "closed":
            return 0.0
        if self.state == "probing":  # how it ends is not known; if it fails, this long
            return self._cooldown
        return max(0.0, self._opened + self._cooldown - self._clock())

    def __str__(self) -> str:
        """For an error: whose it is, and what opened it."""
        return f"{self.target} ({self._reason})"

    @property
    def stale(self) -> bool:
        """Open, and nobody has asked for so long that what it knows is worth nothing."""
        return self.state == "open" and self._clock() > self._opened + max(FORGET_AFTER, 10 * self._cooldown)

    def _count(self, reason: str, *, probe: bool) -> None:
        self._failures += 1
        self._reason = reason
        if probe or (self.state == "closed" and self._failures >= self._limit):
            self.state = "open"
            self._opened = self._clock()
            what = "the probe failed" if probe else f"{self._failures} failures in a row"
            logger.warning(
                "circuit of %s is open: %s, last %s; next probe in %gs", self.target, what, reason, self._cooldown
            )

    def _half_close(self) -> None:
        self._failures = int(self._limit) - 1
        self._set_closed()

    def _close(self) -> None:
        self._failures = 0
        if self.state != "closed":
            self._set_closed()

    def _set_closed(self) -> None:
        if self.state != "closed":
            self.state = "closed"
            logger.warning("circuit of %s is closed again", self.target)

    def _release(self) -> None:
        if self.state == "probing":
            self.state = "open"  # its cooldown has passed, so the next request is the probe


class CircuitBreakerRegistry:
    """The circuits of all routes, made when they are first asked for. `failures` 0: no circuit ever opens."""

    def __init__(self, *, failures: int, cooldown: float, clock: Callable[[], float]) -> None:
        self._limit = failures or inf
        self._cooldown = cooldown
        self._clock = clock
        self._circuits: OrderedDict[Target, CircuitBreaker] = OrderedDict()

    def __getitem__(self, target: Target) -> CircuitBreaker:
        circuit = self._circuits.get(target)
        if circuit is None or (circuit.state == "open" and circuit.stale):
            circuit = CircuitBreaker(target, limit=self._limit, cooldown=self._cooldown, clock=self._clock)
            self._circuits[target] = circuit
            if len(self._circuits) > MAX_CIRCUITS:
                self._circuits.popitem(last=False)
        self._circuits.move_to_end(target)
        return circuit

    def open(self, provider: str) -> int:
        """How many of this provider's routes have a circuit that is not closed."""
        return sum(
            circuit.state != "closed" and not circuit.stale
            for target, circuit in self._circuits.items()
            if target.provider == provider
        )
