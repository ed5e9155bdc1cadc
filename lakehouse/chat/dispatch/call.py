"""One call: what is asked, of whom, and what has become of it so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from random import Random

import httpx
import trio

from lakehouse.chat.dispatch.attempts import ActiveAttempt, AttemptLog
from lakehouse.chat.dispatch.circuit_breaker import CircuitBreaker, CircuitBreakerRegistry
from lakehouse.chat.dispatch.disconnect_grace import DisconnectGrace
from lakehouse.chat.dispatch.json_mode_fallback import JsonModeFallback
from lakehouse.chat.model.answer import ProviderAnswer
from lakehouse.chat.model.request import Request
from lakehouse.chat.model.usage import Usage
from lakehouse.chat.providers.registry import Route
from lakehouse.config import ChatTable
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrUnavailable, LakehouseError
from lakehouse.upstream.pool import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherResources:
    """What all calls of a dispatcher share. `upstreams` are ours, by their providers' names; the providers that have
    none are asked through their transport."""

    settings: ChatTable
    upstreams: Mapping[str, Upstream]
    transports: Mapping[str, httpx.AsyncBaseTransport]
    circuits: CircuitBreakerRegistry
    json_modes: JsonModeFallback
    random: Random
    silence_limit: float = field(init=False)
    """Seconds of silence that are a failure, whatever ended them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "silence_limit", min(self.settings.first_token_timeout, self.settings.timeout))


@dataclass(slots=True, eq=False, kw_only=True)
class ChatCall:
    """A request under way. `routes` are those not yet tried, in order; times are of trio's clock, in seconds."""

    resources: DispatcherResources
    request: Request
    routes: deque[Route]
    context: RequestContext
    disconnect_grace: DisconnectGrace
    attempt_log: AttemptLog
    streams: bool
    started: float = field(default_factory=trio.current_time)
    began: float | None = None
    """The start of the HTTP request, whose body was read before `started`: the deadline counts from there."""
    deadline: float = inf
    limit: trio.CancelScope | None = None
    route_began: float = -inf
    """When the route that was asked last had its turn."""
    refused: list[CircuitBreaker] = field(default_factory=list)
    """Circuits that were open when their route's turn came."""

    @property
    def settings(self) -> ChatTable:
        """`[chatd]`."""
        return self.resources.settings

    @property
    def waited_for(self) -> str:
        """For the error when it did not come."""
        return "the first piece of an answer" if self.streams else "a whole answer"

    @property
    def latency_ms(self) -> float:
        """How long the call has taken so far."""
        return round((trio.current_time() - self.started) * 1000, 3)

    @property
    def on_last_route(self) -> bool:
        """Whether nobody else could be asked."""
        return not any(self.resources.circuits[route.target].admits for route in self.routes)

    def fits_before_deadline(self, pause: float) -> bool:
        """Whether what begins in `pause` seconds begins before the deadline."""
        return trio.current_time() + pause < self.deadline

    def lift_deadline(self) -> None:
        """The answer of a stream has begun, though there is no piece yet: the deadline ends as with the first piece."""
        if self.streams and self.limit is not None:
            self.limit.deadline = inf

    def step_down(self, attempt: ActiveAttempt, error: LakehouseError) -> bool:
        """Whether the failed attempt asked for JSON in a way that does not work there, and another way is left."""
        step, json_modes = attempt.schema_step, self.resources.json_modes
        tools = bool(self.request.tools)
        return step is not None and json_modes.downgrade(attempt.route.target, step, error, tools=tools)

    def record_usage(self, usage: Usage) -> None:
        """What is known of the cost so far, for the log."""
        self.context.record_usage(usage)

    def answered(self, route: Route, reply: ProviderAnswer) -> None:
        """This is the answer: write it down where the observer looks."""
        context = self.context
        context.assign_provider(route.provider.name, route.model)
        context.record_finish(reply.finish_reason, reply.usage)
        if context.content is not None:
            context.content.input, context.content.output = self.request.messages, reply

    def finalize_error(self, error: LakehouseError) -> LakehouseError:
        """The failure that the caller gets, with the trail that led to it."""
        error.attempts = self.attempt_log.entries()
        self.context.replace_error(error)
        return error

    def circuits_open_error(self) -> LakehouseError:
        """The failure of a call whose routes were all left alone because their circuits are open."""
        names = ", ".join(map(str, self.refused))
        wait = min((circuit.retry_after for circuit in self.refused), default=1.0)
        return ErrUnavailable(f"no route is left: the circuit is open for {names}", retry_after=wait)
