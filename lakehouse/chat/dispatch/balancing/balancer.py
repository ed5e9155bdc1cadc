"""The order in which the replicas of a provider are tried.

First those that are usable: their circuits are closed and they are below their limit. Among these the place of the
session, if the call has one; then, for Ollamas, those that have the model in memory; then those with the fewest
attempts under way for their weight, and among equals each in turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby

from lakehouse.chat.dispatch.balancing.affinity import SessionAffinity, choose_by_name
from lakehouse.chat.dispatch.balancing.loaded_models import LoadedModels
from lakehouse.chat.dispatch.balancing.replica_guard import ReplicaGuard
from lakehouse.chat.dispatch.balancing.replica_state import ReplicaState, make_states
from lakehouse.chat.dispatch.policies.circuit_breaker import CircuitBreaker, CircuitBreakerRegistry
from lakehouse.chat.dispatch.provider_queries import ProviderQueries
from lakehouse.chat.model.listing import ReplicaReport
from lakehouse.chat.providers.base import Provider
from lakehouse.chat.providers.registry import ModelRoute, select_hosts
from lakehouse.config import ChatTable


class Balancer:
    """The `replicas` of all providers that have several. `circuits` are those of the routes."""

    def __init__(
        self,
        replicas: Mapping[str, Sequence[Provider]],
        circuits: CircuitBreakerRegistry,
        queries: ProviderQueries,
        settings: ChatTable,
        clock: Callable[[], float],
    ) -> None:
        policy = settings.policy
        self._circuits = circuits
        self._limit = settings.max_connections
        self._states: dict[str, tuple[ReplicaState, ...]] = {
            name: make_states(several, failures=policy.breaker_failures, cooldown=policy.breaker_cooldown, clock=clock)
            for name, several in replicas.items()
        }
        self._by_provider = {state.provider: state for states in self._states.values() for state in states}
        self._affinity = SessionAffinity(clock)
        self._loaded = {
            name: LoadedModels(hosts, queries)
            for name, several in replicas.items()
            if several[0].loaded_path and len(hosts := select_hosts(several)) > 1
        }

    def guard(self, route: ModelRoute, circuit: CircuitBreaker) -> ReplicaGuard:
        """What admits attempts to the replica of a route, whose own circuit this is."""
        return ReplicaGuard(self._by_provider[route.provider], circuit)

    async def arrange(self, routes: deque[ModelRoute], session: str | None) -> None:
        """Put the replicas of each target in the order in which they are to be tried."""
        arranged: list[ModelRoute] = []
        providers: set[str] = set()
        for target, group in groupby(routes, key=lambda route: route.target):
            several = list(group)
            if len(several) > 1:
                several = await self._order(several, session, is_first=target.provider not in providers)
                providers.add(target.provider)
            arranged += several
        routes.clear()
        routes.extend(arranged)

    def remember(self, route: ModelRoute, session: str | None) -> None:
        """The replica of a route has answered."""
        state = self._by_provider[route.provider]
        if session is not None:
            self._affinity.remember(session, state)
        if (loaded := self._loaded.get(route.provider.name)) is not None:
            loaded.add(route.provider, route.model)

    def count_open(self, name: str) -> int:
        """The number of a provider's replicas whose circuits are open."""
        return sum(not state.available for state in self._states.get(name, ()))

    def is_available(self, name: str) -> bool | None:
        """Whether a replica of a provider is left; None for a provider with only one."""
        states = self._states.get(name)
        return None if states is None else any(state.available for state in states)

    def report(self, name: str) -> tuple[ReplicaReport, ...]:
        """The replicas of a provider; none if it has only one."""
        return tuple(
            ReplicaReport(
                name=str(state.provider.replica),
                available=state.available,
                in_flight=state.in_flight,
                reason="" if state.available else state.circuit.reason,
                retry_after=round(state.circuit.retry_after, 3),
            )
            for state in self._states.get(name, ())
        )

    async def _order(self, routes: list[ModelRoute], session: str | None, *, is_first: bool) -> list[ModelRoute]:
        """`is_first`: these are the first routes of the call to their provider, which take a turn."""
        name, model = routes[0].target.provider, routes[0].model
        loaded = self._loaded.get(name)
        if loaded is not None:
            await loaded.refresh()
        by_provider = {route.provider: route for route in routes}
        states = [self._by_provider[provider] for provider in by_provider]
        usable = [state for state in states if self._is_usable(by_provider[state.provider], state)]
        having = [state for state in usable if loaded is not None and loaded.has(state.provider, model)]
        first = self._choose(having or usable, usable, session, is_first=is_first)
        rest = sorted(
            (state for state in states if state is not first),
            key=lambda state: (state not in usable, state not in having, state.in_flight / state.weight),
        )
        return [by_provider[state.provider] for state in ((first, *rest) if first is not None else rest)]

    def _choose(
        self,
        preferred: Sequence[ReplicaState],
        usable: Sequence[ReplicaState],
        session: str | None,
        *,
        is_first: bool,
    ) -> ReplicaState | None:
        if not usable:
            return None
        if session is not None:
            home = self._affinity.find(usable[0].provider.name, session)
            return home if home in usable else choose_by_name(session, preferred)
        least = min(state.in_flight / state.weight for state in preferred)
        equals = [state for state in preferred if state.in_flight / state.weight == least]
        return take_turn(equals) if is_first else max(equals, key=lambda state: state.credit)

    def _is_usable(self, route: ModelRoute, state: ReplicaState) -> bool:
        return state.host.in_flight < self._limit and self.guard(route, self._circuits[route.circuit_target]).admits


def take_turn(equals: Sequence[ReplicaState]) -> ReplicaState:
    """The next of at least one, each as often as its weight says and spread evenly (smooth weighted round robin)."""
    for state in equals:
        state.credit += state.weight
    chosen = max(equals, key=lambda state: state.credit)
    chosen.credit -= sum(state.weight for state in equals)
    return chosen


def has_replicas(routes: Iterable[ModelRoute]) -> bool:
    """Whether a route is one of several replicas."""
    return any(route.provider.replica is not None for route in routes)
