"""One call of the dispatcher: its request, the routes left to try, and everything that its attempts share."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import msgspec

from lakehouse.chat.dispatch.calls.attempt_log import ActiveAttempt, AttemptLog
from lakehouse.chat.dispatch.calls.call_time import CallTime
from lakehouse.chat.dispatch.policies.circuit_breaker import CircuitBreaker, CircuitBreakerRegistry
from lakehouse.chat.dispatch.policies.disconnect_grace import DisconnectGrace
from lakehouse.chat.dispatch.policies.json_mode_fallback import JsonModeFallback
from lakehouse.chat.dispatch.transport.interface import ProviderTransport
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.request import Request
from lakehouse.chat.providers.registry import ModelRoute
from lakehouse.config import ChatTable
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrUnavailable, LakehouseError


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherResources:
    """What all calls of a dispatcher share. `transports` has one transport for each registered provider."""

    settings: ChatTable
    transports: Mapping[str, ProviderTransport]
    circuits: CircuitBreakerRegistry
    json_modes: JsonModeFallback
    random: Random
    silence_limit: float = field(init=False)
    """Seconds without any data after which an abandoned attempt counts as a failure of its route."""

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
    open_circuits: list[CircuitBreaker] = []
    """The circuits that were open when their route was to be tried."""

    @property
    def settings(self) -> ChatTable:
        """`[chatd]`."""
        return self.resources.settings

    @property
    def expected_result(self) -> str:
        """What the call waits for, in the words of the timeout error."""
        return "the first piece of an answer" if self.streams else "a whole answer"

    @property
    def has_no_other_route(self) -> bool:
        """Whether the circuit of every route that is left is open."""
        return not any(self.resources.circuits[route.target].admits for route in self.routes)

    def lift_deadline(self) -> None:
        """Remove the deadline of a stream whose answer has begun, though no piece of it is complete yet."""
        if self.streams:
            self.time.lift_deadline()

    def downgrade_json_mode(self, attempt: ActiveAttempt, error: LakehouseError) -> bool:
        """Whether the attempt failed because of its JSON mode, and another mode is left to try."""
        mode, json_modes = attempt.json_mode, self.resources.json_modes
        tools = bool(self.request.tools)
        return mode is not None and json_modes.downgrade(attempt.route.target, mode, error, tools=tools)

    def record_answer(self, route: ModelRoute, reply: ProviderAnswer) -> None:
        """Record the complete answer in the request context, for telemetry."""
        context = self.context
        context.record_answer(route.provider.name, route.model, reply.finish_reason, reply.usage)
        if context.content is not None:
            context.record_content(self.request.messages, reply)

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
