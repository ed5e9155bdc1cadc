"""Circuit breakers: a route that keeps failing is skipped for a while, then probed by one request.

    closed --failures in a row--> open --cooldown passed, one probe--> probing --success--> closed
                                    ^------------------------ failure ------------'

An attempt needs a `CircuitPermit` and ends it in exactly one way. Nothing here waits, so a circuit breaker needs no
task and no lock.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Literal, Protocol

from lakehouse.chat.providers.model_router import CircuitTarget
from lakehouse.core.errors import LakehouseError

logger = logging.getLogger("lakehouse.chat")

CircuitState = Literal["closed", "open", "probing"]

MAX_CIRCUITS = 4096
"""Model names come from callers, so the number of circuit breakers is bounded; the least recently used is dropped."""

FORGET_AFTER = 600.0
"""Seconds (or ten cooldowns, if that is more) after which an open circuit that no request needed is forgotten."""


class AttemptPermit(Protocol):
    """Permission to make one attempt: a `CircuitPermit`, or a `ReplicaPermit` that stands for two."""

    def half_close(self) -> None: ...

    def succeeded(self) -> None: ...

    def failed(self, reason: str, error: LakehouseError | None = None) -> bool: ...

    def abandoned(self) -> None: ...


class Circuit(Protocol):
    """Admits the attempts at a route: a `CircuitBreaker`, or a `ReplicaGuard` over two."""

    @property
    def admits(self) -> bool: ...

    @property
    def retry_after(self) -> float: ...

    def admit(self) -> AttemptPermit | None: ...


class CircuitPermit:
    """Permission to make one attempt. It ends with `succeeded`, `failed` or `abandoned`; any later end is ignored."""

    __slots__ = ("_circuit", "probe")

    def __init__(self, circuit: CircuitBreaker, *, probe: bool) -> None:
        self._circuit: CircuitBreaker | None = circuit
        self.probe = probe

    def half_close(self) -> None:
        """The answer has begun: a probe closes the circuit, but one more failure opens it again."""
        if self._circuit is not None and self.probe:
            self._circuit._half_close()
            self.probe = False

    def succeeded(self) -> None:
        """The route works: close the circuit."""
        circuit, self._circuit = self._circuit, None
        if circuit is not None:
            circuit._close()

    def failed(self, reason: str, error: LakehouseError | None = None) -> bool:  # noqa: ARG002 - as `ReplicaPermit`
        """The failure is the route's: count it. `reason` is an error class. Whether the operator is to be told."""
        if circuit := self._end():
            circuit._count(reason, probe=self.probe)
        return True

    def abandoned(self) -> None:
        """The attempt ended without a result: the client left, or another route was faster."""
        if (circuit := self._end()) and self.probe:
            circuit._release()

    def _end(self) -> CircuitBreaker | None:
        circuit, self._circuit = self._circuit, None
        return circuit


class CircuitBreaker:
    """The circuit of one route.

    `limit` consecutive failures open it; `cooldown` seconds later, one probe is admitted.
    """

    __slots__ = ("_clock", "_failures", "_limit", "_opened", "cooldown", "reason", "state", "target")

    def __init__(self, target: CircuitTarget, *, limit: float, cooldown: float, clock: Callable[[], float]) -> None:
        self.target = target
        self.state: CircuitState = "closed"
        self._limit = limit
        self.cooldown = cooldown
        self._clock = clock
        self._failures = 0
        self._opened = -inf
        self.reason = ""

    def admit(self) -> CircuitPermit | None:
        """A permit for one attempt, or None: the circuit is open, or its probe is under way."""
        if self.state == "closed":
            return CircuitPermit(self, probe=False)
        if not self.admits:
            return None
        self.state = "probing"
        return CircuitPermit(self, probe=True)

    @property
    def admits(self) -> bool:
        """Whether `admit` would return a permit."""
        return self.state == "closed" or (self.state == "open" and self.retry_after <= 0)

    @property
    def retry_after(self) -> float:
        """Seconds until the next probe may be admitted."""
        if self.state == "closed":
            return 0.0
        if self.state == "probing":  # if the probe fails, the circuit stays open for this long
            return self.cooldown
        return max(0.0, self._opened + self.cooldown - self._clock())

    def __str__(self) -> str:
        """The route and the reason why its circuit opened, for an error message."""
        return f"{self.target} ({self.reason})"

    @property
    def stale(self) -> bool:
        """Whether the circuit has been open for so long without a request that its state means nothing."""
        return self.state == "open" and self._clock() > self._opened + max(FORGET_AFTER, 10 * self.cooldown)

    def open_for(self, seconds: float, reason: str) -> None:
        """Open the circuit for a time that is known, whatever was counted."""
        self.state = "open"
        self._opened = self._clock() + seconds - self.cooldown
        self.reason = reason
        logger.warning("circuit of %s is open: %s; next probe in %gs", self.target, reason, seconds)

    def _count(self, reason: str, *, probe: bool) -> None:
        self._failures += 1
        self.reason = reason
        if probe or (self.state == "closed" and self._failures >= self._limit):
            self.state = "open"
            self._opened = self._clock()
            cause = "the probe failed" if probe else f"{self._failures} failures in a row"
            logger.warning(
                "circuit of %s is open: %s, last %s; next probe in %gs", self.target, cause, reason, self.cooldown
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
    """The circuit breakers of all routes, made on first use. `failures` 0: no circuit ever opens."""

    def __init__(self, *, failures: int, cooldown: float, clock: Callable[[], float]) -> None:
        self._limit = failures or inf
        self._cooldown = cooldown
        self._clock = clock
        self._circuits: OrderedDict[CircuitTarget, CircuitBreaker] = OrderedDict()

    def __getitem__(self, target: CircuitTarget) -> CircuitBreaker:
        circuit = self._circuits.get(target)
        if circuit is None or (circuit.state == "open" and circuit.stale):
            circuit = CircuitBreaker(target, limit=self._limit, cooldown=self._cooldown, clock=self._clock)
            self._circuits[target] = circuit
            if len(self._circuits) > MAX_CIRCUITS:
                self._circuits.popitem(last=False)
        self._circuits.move_to_end(target)
        return circuit

    def open(self, provider: str) -> int:
        """The number of this provider's routes whose circuit is not closed."""
        return sum(
            circuit.state != "closed" and not circuit.stale
            for target, circuit in self._circuits.items()
            if target.provider == provider
        )
