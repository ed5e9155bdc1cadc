"""Admission of attempts to one replica, and what their ends say about its host, its key, and the model there.

An attempt is admitted if two circuits admit it: that of the replica, which is about host and key, and that of the
route, which is about the model at this replica. A connection that cannot be made or breaks counts for the first, an
answer that is a failure for the second: a model that always fails leaves the other models of the host reachable.
"""

from __future__ import annotations

from lakehouse.chat.dispatch.balancing.replica_state import ReplicaState
from lakehouse.chat.dispatch.policies.circuit_breaker import CircuitBreaker, CircuitPermit
from lakehouse.chat.dispatch.policies.failure_rules import is_connection_lost
from lakehouse.core.errors import LakehouseError

REFUSALS = frozenset({"auth", "forbidden"})
SPENT = frozenset({"billing", "quota"})


class ReplicaGuard:
    """The two circuits of a route to a replica, in the place of one."""

    __slots__ = ("_replica", "_route_circuit")

    def __init__(self, replica: ReplicaState, route_circuit: CircuitBreaker) -> None:
        self._replica = replica
        self._route_circuit = route_circuit

    @property
    def admits(self) -> bool:
        """Whether `admit` would return a permit."""
        return self._replica.circuit.admits and self._route_circuit.admits

    @property
    def retry_after(self) -> float:
        """Seconds until the next attempt may be admitted."""
        return max(self._replica.circuit.retry_after, self._route_circuit.retry_after)

    def admit(self) -> ReplicaPermit | None:
        """A permit for one attempt, or None."""
        if not self.admits:
            return None
        route, replica = self._route_circuit.admit(), self._replica.circuit.admit()
        assert route is not None  # noqa: S101 - both admit
        assert replica is not None  # noqa: S101
        return ReplicaPermit(self._replica, replica, route)

    def __str__(self) -> str:
        """The circuit that is open, and why, for an error message."""
        return str(self._route_circuit if self._replica.circuit.admits else self._replica.circuit)


class ReplicaPermit:
    """Permission to make one attempt at a replica, which is counted as under way until the permit ends."""

    __slots__ = ("_ended", "_of_replica", "_of_route", "_replica")

    def __init__(self, replica: ReplicaState, of_replica: CircuitPermit, of_route: CircuitPermit) -> None:
        self._replica = replica
        self._of_replica = of_replica
        self._of_route = of_route
        self._ended = False
        replica.begin()

    def half_close(self) -> None:
        """The answer has begun."""
        self._of_replica.half_close()
        self._of_route.half_close()

    def succeeded(self) -> None:
        """The replica has answered."""
        if self._end():
            self._replica.accept_key()
            self._of_replica.succeeded()
            self._of_route.succeeded()

    def failed(self, reason: str, error: LakehouseError | None = None) -> bool:
        """The failure is the replica's or the model's there. Whether the operator is to be told."""
        if not self._end():
            return False
        replica = self._replica
        retry_after = None if error is None else error.retry_after
        if reason in REFUSALS and replica.same_key:
            self._abandon_both()
            return replica.refuse_key(reason)
        if (reason in SPENT and replica.same_key) or (retry_after and reason in (*SPENT, "rate_limit")):
            self._abandon_both()
            replica.leave_key(retry_after or replica.circuit.cooldown, reason)
        elif error is not None and (error.unreached or (error.upstream_status is None and is_connection_lost(error))):
            self._of_replica.failed(reason)
            self._of_route.abandoned()
        else:
            self._of_replica.succeeded()
            self._of_route.failed(reason)
        return True

    def abandoned(self) -> None:
        """The attempt ended without a result."""
        if self._end():
            self._abandon_both()

    def _abandon_both(self) -> None:
        self._of_replica.abandoned()
        self._of_route.abandoned()

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        self._replica.end()
        return True
