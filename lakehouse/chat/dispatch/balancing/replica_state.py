"""What is known about the replicas of one provider."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lakehouse.chat.dispatch.policies.circuit_breaker import CircuitBreaker
from lakehouse.chat.providers.base import Provider
from lakehouse.chat.providers.model_router import ReplicaTarget

logger = logging.getLogger("lakehouse.chat")

REFUSED_FOR = 300.0
"""Seconds for which a key that was refused is left for the others. Then one request tries it again."""

MAX_LEFT = 86_400.0
"""Seconds after which a key is tried again, whatever a provider has said."""


@dataclass(eq=False, slots=True)
class Load:
    """Attempts under way, of a host with all its keys."""

    in_flight: int = 0


@dataclass(eq=False, slots=True)
class ReplicaState:
    """One replica. `circuit` is about its host and its key, whatever the model.

    `credit` is for the choice among equals. `refused`: its key was refused, and has not been accepted since.
    """

    provider: Provider
    circuit: CircuitBreaker
    host: Load
    weight: int
    in_flight: int = 0
    credit: int = 0
    refused: bool = False
    same_key: list[ReplicaState] = field(default_factory=list)
    """The replicas with the same key, this one among them; empty if the provider has no other key."""

    @property
    def available(self) -> bool:
        """Whether its circuit is closed."""
        return self.circuit.state == "closed"

    def begin(self) -> None:
        """An attempt begins."""
        self.in_flight += 1
        self.host.in_flight += 1

    def end(self) -> None:
        """An attempt has ended."""
        self.in_flight -= 1
        self.host.in_flight -= 1

    def leave_key(self, seconds: float, reason: str) -> None:
        """Make no attempts with this key for a time; if it is the only one, none at this host."""
        for replica in self.same_key or (self,):
            replica.circuit.open_for(min(seconds, MAX_LEFT), reason)

    def refuse_key(self, reason: str) -> bool:
        """The key was refused: leave it for the others. Whether this is news for the operator."""
        news = not self.refused
        for replica in self.same_key:
            replica.refused = True
        self.leave_key(REFUSED_FOR, reason)
        return news

    def accept_key(self) -> None:
        """The key was accepted."""
        if self.refused:
            for replica in self.same_key:
                replica.refused = False


def make_states(
    replicas: Sequence[Provider], *, failures: int, cooldown: float, clock: Callable[[], float]
) -> tuple[ReplicaState, ...]:
    """The states of the replicas of one provider, none of which is used yet."""
    hosts: dict[str, Load] = {}
    states: list[ReplicaState] = []
    by_key: dict[str, list[ReplicaState]] = {}
    for provider in replicas:
        assert provider.replica is not None  # noqa: S101 - each of several is one
        target = ReplicaTarget(provider.name, "", str(provider.replica))
        circuit = CircuitBreaker(target, limit=failures or float("inf"), cooldown=cooldown, clock=clock)
        host = hosts.setdefault(provider.base_url, Load())
        states.append(ReplicaState(provider, circuit, host, provider.replica.weight))
        by_key.setdefault("" if provider.key is None else provider.key.value, []).append(states[-1])
    if len(by_key) > 1:
        for same in by_key.values():
            for state in same:
                state.same_key = same
    return tuple(states)
