"""One call of the dispatcher: its request, the routes left to try, and everything that its attempts share."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import msgspec

from lakehouse.chat.dispatch.balancing.balancer import Balancer
from lakehouse.chat.dispatch.calls.attempt_log import ActiveAttempt, AttemptLog
from lakehouse.chat.dispatch.calls.call_observer import CallObserver
from lakehouse.chat.dispatch.calls.call_time import CallTime
from lakehouse.chat.dispatch.policies.circuit_breaker import Circuit, CircuitBreakerRegistry
from lakehouse.chat.dispatch.policies.disconnect_grace import DisconnectGrace
from lakehouse.chat.dispatch.policies.failure_rules import rule_for
from lakehouse.chat.dispatch.policies.json_mode_fallback import JsonModeFallback
from lakehouse.chat.dispatch.policies.thinking_fallback import ThinkingFallback
from lakehouse.chat.dispatch.transport.interface import ProviderTransport
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.registry import ModelRoute
from lakehouse.config import ChatTable
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrUnavailable, LakehouseError


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherResources:
    """What all calls of a dispatcher share.

    `transports` has one transport for each host of the registered providers; `balancer` knows the replicas of those
    that have several; `observer` follows the calls of sessions.
    """

    settings: ChatTable
    transports: Mapping[str, ProviderTransport]
    circuits: CircuitBreakerRegistry
    json_modes: JsonModeFallback
    thinking: ThinkingFallback
    random: Random
    balancer: Balancer
    observer: CallObserver | None = None
    silence_limit: float = field(init=False)
    """Seconds without any data after which an abandoned attempt counts as a failure of its route."""

    def find_circuit(self, route: ModelRoute) -> Circuit:
        """What admits attempts at a route."""
        circuit = self.circuits[route.circuit_target]
        return circuit if route.provider.replica is None else self.balancer.guard(route, circuit)

    def __post_init__(self) -> None:
        object.__setattr__(self, "silence_limit", min(self.settings.first_token_timeout, self.settings.timeout))


class ChatCall(msgspec.Struct, eq=False, kw_only=True):
    """A call under way. `routes` are those that have not been tried, in order."""

    resources: DispatcherResources
    request: Request
    routes: deque[ModelRoute]
    context: RequestContext
    time: CallTime
    disconnect_grace: DisconnectGrace
    attempt_log: AttemptLog
    streams: bool
    raw: RawRequest | None = None
    """The request as its client wrote it, for providers that speak its form; None once no attempt may follow."""
    open_circuits: list[Circuit] = []
    """The circuits that were open when their route was to be tried."""
    lost_answers: int = 0
    """Answers of replicas that were generated and lost."""

    @property
    def settings(self) -> ChatTable:
        """`[chatd]`."""
        return self.resources.settings

    @property
    def session_name(self) -> str | None:
        """The session that the call belongs to."""
        session = self.context.session
        return None if session is None else session.id

    @property
    def expected_result(self) -> str:
        """What the call waits for, in the words of the timeout error."""
        return "the first piece of an answer" if self.streams else "a whole answer"

    @property
    def has_no_other_route(self) -> bool:
        """Whether the circuit of every route that is left is open."""
        return not any(self.resources.find_circuit(route).admits for route in self.routes)

    def has_replica_of(self, route: ModelRoute) -> bool:
        """Whether another replica of a route's provider is next."""
        return bool(self.routes) and self.routes[0].target == route.target

    def drop_replicas(self, route: ModelRoute, error: LakehouseError) -> None:
        """Leave out the other replicas of a route that failed with an error which they would repeat, or after a second
        answer that was generated and lost."""
        rule = rule_for(error)
        if rule.retries == 1:  # the answer was generated and lost: generating it costs money, whichever replica does
            self.lost_answers += 1
        if not rule.try_replicas or self.lost_answers > 1:
            while self.has_replica_of(route):
                self.routes.popleft()

    def lift_deadline(self) -> None:
        """Remove the deadline of a stream whose answer has begun, though no piece of it is complete yet."""
        if self.streams:
            self.time.lift_deadline()

    def adapt_request(self, attempt: ActiveAttempt, error: LakehouseError) -> bool:
        """Whether the attempt failed because of something that the next one does in another way: the thinking that was
        left to the model, or the JSON mode."""
        target = attempt.route.target
        return self.resources.thinking.learn(target, self.request, error) or self._downgrade_json_mode(attempt, error)

    def _downgrade_json_mode(self, attempt: ActiveAttempt, error: LakehouseError) -> bool:
        mode, json_modes = attempt.json_mode, self.resources.json_modes
        tools = bool(self.request.tools)
        return mode is not None and json_modes.downgrade(attempt.route.target, mode, error, tools=tools)

    def record_answer(self, route: ModelRoute, reply: ProviderAnswer) -> None:
        """Record the complete answer in the request context, for telemetry."""
        context = self.context
        context.record_answer(route.provider.name, route.model, reply.finish_reason, reply.usage)
        if route.provider.replica is not None:
            self.resources.balancer.remember(route, self.session_name)
        if context.content is not None:
            context.record_content(self.request.messages, reply)
        observer = self.resources.observer
        if observer is not None and context.session is not None:
            observer.record(self.request, reply, context)

    def finalize_error(self, error: LakehouseError) -> LakehouseError:
        """Add the attempts to the error that the caller gets, and record it in the request context."""
        error.attempts = self.attempt_log.entries()
        self.context.replace_error(error)
        return error

    def circuits_open_error(self) -> LakehouseError:
        """The error of a call that tried no route because all their circuits are open."""
        names = ", ".join(map(str, self.open_circuits))
        wait = min((circuit.retry_after for circuit in self.open_circuits), default=1.0)
        return ErrUnavailable(f"no route is left: the circuit is open for {names}", retry_after=wait)
