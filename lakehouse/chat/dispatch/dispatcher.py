"""The dispatcher: answers chat requests, complete or streamed, over the routes that their model names stand for.

    async with open_dispatcher(config) as chat:
        answer = await chat(request)
        async with chat.stream(request) as pieces:
            async for piece in pieces:
                ...

There is no global state, and nothing outlives the block that opened the dispatcher.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from random import Random
from typing import Any

import msgspec
import trio

from lakehouse.chat.dispatch.answer import build_answer
from lakehouse.chat.dispatch.attempts.attempt import CompleteResult, request_complete
from lakehouse.chat.dispatch.balancing.balancer import Balancer
from lakehouse.chat.dispatch.calls.attempt_log import AttemptLog
from lakehouse.chat.dispatch.calls.call import ChatCall, DispatcherResources
from lakehouse.chat.dispatch.calls.call_observer import CallObserver
from lakehouse.chat.dispatch.calls.call_time import CallTime
from lakehouse.chat.dispatch.hedging import try_routes_hedged
from lakehouse.chat.dispatch.model_catalog import ModelCatalog
from lakehouse.chat.dispatch.policies.circuit_breaker import CircuitBreakerRegistry
from lakehouse.chat.dispatch.policies.disconnect_grace import DisconnectGrace
from lakehouse.chat.dispatch.policies.json_mode_fallback import JsonModeFallback
from lakehouse.chat.dispatch.policies.thinking_fallback import ThinkingFallback
from lakehouse.chat.dispatch.provider_queries import ProviderQueries
from lakehouse.chat.dispatch.quorum import ask_quorum
from lakehouse.chat.dispatch.stream import Stream
from lakehouse.chat.dispatch.transport.interface import ProviderTransport
from lakehouse.chat.dispatch.try_routes import with_deadline
from lakehouse.chat.model.answer import Answer, RelayedAnswer
from lakehouse.chat.model.listing import LoadedModel, ModelCard, ModelDescription, ProbeResult, ProviderState
from lakehouse.chat.model.raw_request import RawRequest
from lakehouse.chat.model.request import Quorum, Request
from lakehouse.chat.providers.base import Provider
from lakehouse.chat.providers.registry import ModelRoute, Registry
from lakehouse.config import Config
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest
from lakehouse.upstream.pool import Upstream

MAX_CACHED_NAMES = 256
"""Model names whose routes are cached. Names come from callers, so the cache is bounded."""


class Dispatcher:
    """Answers chat requests. Made by `lakehouse.open_dispatcher`.

    Everything that a call starts has ended when it returns, raises or is cancelled. Failures are `LakehouseError`s.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        transports: Mapping[str, ProviderTransport],
        *,
        pools: Sequence[Upstream] = (),
        random: Random | None = None,
        observer: CallObserver | None = None,
    ) -> None:
        policy = config.chatd.policy
        self._settings = config.chatd
        self._registry = registry
        self._router = registry.make_router(config)
        self._circuits = CircuitBreakerRegistry(
            failures=policy.breaker_failures, cooldown=policy.breaker_cooldown, clock=trio.current_time
        )
        queries = ProviderQueries(transports)
        self._balancer = Balancer(registry.replicas, self._circuits, queries, config.chatd, trio.current_time)
        self._resources = DispatcherResources(
            settings=config.chatd,
            transports=transports,
            circuits=self._circuits,
            json_modes=JsonModeFallback(),
            thinking=ThinkingFallback(),
            random=random or Random(),  # noqa: S311 - jitter of the back-off, not a secret
            balancer=self._balancer,
            observer=observer,
        )
        self._find_routes = lru_cache(MAX_CACHED_NAMES)(lambda name: self._routes((name,)))
        self._catalog = ModelCatalog(registry, queries, config.models)
        self._pools = tuple(pools)

    async def __call__(self, request: Request, /) -> Answer:
        """Get a complete answer. Raises a `LakehouseError`, whose `attempts` list what was tried."""
        return await self._complete(request, None)

    def stream(self, request: Request, /) -> Stream:
        """Get a streamed answer, as an async context manager: see `Stream`.

        Raises ErrProviderNotFound and ErrBadRequest at once, before the stream is entered.
        """
        return self._stream(request, None)

    def providers(self) -> tuple[ProviderState, ...]:
        """The registered providers."""
        return tuple(
            ProviderState(
                name=name,
                available=self._is_available(provider),
                default=name == self._settings.default,
                replicas=self._balancer.report(name),
            )
            for name, provider in self._registry.providers.items()
        )

    async def models(self) -> Sequence[ModelCard]:
        """The tiers, then the models that the registered providers list. The lists are cached for a minute."""
        return await self._catalog.models()

    async def probe(self) -> Sequence[ProbeResult]:
        """Whether each registered provider answers."""
        return await self._catalog.probe()

    def _is_available(self, provider: Provider) -> bool:
        failed = provider.readiness is not None and provider.readiness.state.phase == "failed"
        is_left = self._balancer.is_available(provider.name)
        return not failed and (not self._circuits.open(provider.name) if is_left is None else is_left)

    async def _complete(self, request: Request, context: RequestContext | None) -> Answer:
        call = self._make_call(request, context, streams=False)
        work = (
            partial(try_routes_hedged, call, request_complete)
            if request.quorum is None
            else partial(self._ask_quorum, call, request.quorum)
        )
        result = await with_deadline(call, work)
        call.record_answer(result.route, result.reply)
        return build_answer(call, result.route, result.reply)

    def _stream(self, request: Request, context: RequestContext | None, raw: RawRequest | None = None) -> Stream:
        if request.quorum is not None:
            raise ErrBadRequest("`quorum` is for whole answers", field="quorum")
        if self._settings.policy.on_cut == "resume":  # what was relayed cannot be compared with another answer
            raw = None
        return Stream(self._make_call(request, context, streams=True, raw=raw))

    def _make_call(
        self, request: Request, context: RequestContext | None, *, streams: bool, raw: RawRequest | None = None
    ) -> ChatCall:
        """Raises ErrProviderNotFound if any of the request's names needs a provider that is not registered, and what
        the observer refuses the call with."""
        grace = None if context is None else self._settings.policy.on_disconnect
        request_started = None if context is None else context.started
        if context is None:
            context = RequestContext(id="", method="", path="", started=trio.current_time())
        observer = self._resources.observer
        if observer is not None and context.session is not None:
            observer.admit(request, context)
        context.record_requested_model(request.model)
        if (tier := self._router.find_tier(request.model)) is not None:
            context.assign_tier(tier)
        if request.quorum:
            routes = self._routes(request.quorum.of)
        elif request.fallbacks:
            routes = self._routes((request.model, *request.fallbacks))
        else:
            routes = self._find_routes(request.model)
        if raw is not None:
            routes = tuple([route.for_form(raw.form) for route in routes])
        return ChatCall(
            resources=self._resources,
            request=request,
            routes=deque(routes),
            context=context,
            time=CallTime(context, request_started=request_started),
            disconnect_grace=DisconnectGrace(context, grace),
            attempt_log=AttemptLog(context),
            streams=streams,
            raw=raw,
        )

    def _ask_quorum(self, call: ChatCall, quorum: Quorum) -> Awaitable[CompleteResult]:
        """Ask the members of a quorum. Each is a part of `call` with the routes of one name."""
        members = [(name, msgspec.structs.replace(call, routes=deque(self._routes((name,))))) for name in quorum.of]
        return ask_quorum(members, quorum.agree)

    def _routes(self, names: Iterable[str]) -> tuple[ModelRoute, ...]:
        return tuple(route for target in self._router.chain(names) for route in self._registry.routes(target))


class ServiceDispatcher(Dispatcher):
    """The dispatcher as the service uses it: calls belong to HTTP requests, and its state is shown in metrics."""

    def __call__(self, request: Request, /, *, context: RequestContext | None = None) -> Coroutine[Any, Any, Answer]:
        """Get a complete answer for the HTTP request of `context`."""
        return self._complete(request, context)

    async def relay(
        self, request: Request, raw: RawRequest, /, *, context: RequestContext | None = None
    ) -> Answer | RelayedAnswer:
        """Get a complete answer for the HTTP request of `context`, relayed if the provider that answers speaks the form
        of `raw` and takes the request as it is."""
        call = self._make_call(request, context, streams=False, raw=raw)
        result = await with_deadline(call, partial(try_routes_hedged, call, request_complete))
        call.record_answer(result.route, result.reply)
        if result.relayed is None:
            return build_answer(call, result.route, result.reply)
        attempts = call.attempt_log.entries()
        return RelayedAnswer(body=result.relayed, provider=result.route.provider.name, attempts=attempts)

    def stream(
        self, request: Request, /, *, context: RequestContext | None = None, raw: RawRequest | None = None
    ) -> Stream:
        """Get a streamed answer for the HTTP request of `context`. With `raw`, it is relayed as by `relay`."""
        return self._stream(request, context, raw)

    async def describe(self, name: str) -> ModelDescription:
        """What is known about a model, and about the first model of a tier.

        Raises ErrProviderNotFound, ErrBadRequest, and the error of an Ollama that does not know the model.
        """
        routes = self._find_routes(name)
        return await self._catalog.describe([route for route in routes if route.target == routes[0].target])

    async def list_loaded(self) -> Sequence[LoadedModel]:
        """The models that the registered Ollama has in memory."""
        return await self._catalog.list_loaded()

    @property
    def pools(self) -> tuple[Upstream, ...]:
        """The connection pools of the providers that are not reached through a foreign transport."""
        return self._pools

    @property
    def replicas(self) -> Mapping[str, Sequence[Provider]]:
        """All replicas of each registered provider."""
        return self._registry.list_replicas()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the registered providers."""
        return tuple(self._registry.providers)

    def open_circuits(self) -> Mapping[str, int]:
        """For each registered provider, the number of its routes whose circuit is open."""
        names = self._registry.providers
        return {name: self._circuits.open(name) + self._balancer.count_open(name) for name in names}
