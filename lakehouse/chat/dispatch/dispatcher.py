"""The dispatcher: asks models, whole answers and streams, over the routes that their names stand for.

    async with open_dispatcher(config) as chat:
        answer = await chat(request)
        async with chat.stream(request) as pieces:
            async for piece in pieces:
                ...

Nothing is global, and nothing outlives the block that opened it.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from random import Random

import httpx
import trio

from lakehouse.chat.dispatch.answer import build_answer
from lakehouse.chat.dispatch.attempt import CompleteResult, request_complete
from lakehouse.chat.dispatch.attempts import AttemptLog
from lakehouse.chat.dispatch.call import ChatCall, DispatcherResources
from lakehouse.chat.dispatch.circuit_breaker import CircuitBreakerRegistry
from lakehouse.chat.dispatch.disconnect_grace import DisconnectGrace
from lakehouse.chat.dispatch.hedging import try_routes_hedged
from lakehouse.chat.dispatch.json_mode_fallback import JsonModeFallback
from lakehouse.chat.dispatch.model_catalog import ModelCatalog
from lakehouse.chat.dispatch.quorum import ask_quorum
from lakehouse.chat.dispatch.stream import Stream
from lakehouse.chat.dispatch.try_routes import with_deadline
from lakehouse.chat.model.answer import Answer
from lakehouse.chat.model.listing import ModelCard, ProbeResult, ProviderState
from lakehouse.chat.model.request import Quorum, Request
from lakehouse.chat.providers.base import Provider
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.local import Local
from lakehouse.chat.providers.registry import Registry, Route, register
from lakehouse.chat.providers.routing import Router
from lakehouse.config import ChatTable, Config, ConfigError
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest
from lakehouse.local_model.readiness import Readiness
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.httpx_transport import Transport
from lakehouse.upstream.pool import Upstream
from lakehouse.upstream.proxy import Proxies

logger = logging.getLogger("lakehouse.chat")

AT_ONCE = 32 * 1024
"""Bytes of an answer that are read before the other tasks are let run. Of small chunks they are hundreds, and a
millisecond or two; what a relay may take of a connection at once would be a tenth of a second here."""

NAMES = 256
"""Names of models whose routes are remembered. Callers choose them, so there is a bound; the longest unused is
forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """Where the embedded model is served: a base URL that ends in `/v1`, and what it takes to be let in.

    `readiness` says whether it is served at the moment; without one it is taken to be.
    """

    base_url: str
    api_key: str
    model: str
    readiness: Readiness | None = None


class Dispatcher:
    """Asks models over the routes that their names stand for. Made by `open_dispatcher`.

    Whatever a call starts has ended when it returns, raises or is cancelled. Failures are `LakehouseError`s.
    """

    def __init__(
        self,
        config: Config,
        registry: Registry,
        transports: Mapping[str, httpx.AsyncBaseTransport],
        *,
        pools: Sequence[Upstream] = (),
        random: Random | None = None,
    ) -> None:
        policy = config.chatd.policy
        self._settings = config.chatd
        self._registry = registry
        self._router = Router(default=config.chatd.default, tiers=config.models)
        self._circuits = CircuitBreakerRegistry(
            failures=policy.breaker_failures, cooldown=policy.breaker_cooldown, clock=trio.current_time
        )
        self._resources = DispatcherResources(
            settings=config.chatd,
            upstreams={pool.name: pool for pool in pools},
            transports=transports,
            circuits=self._circuits,
            json_modes=JsonModeFallback(),
            random=random or Random(),  # noqa: S311 - spreads retries, guards nothing
        )
        self._routes_of = lru_cache(NAMES)(lambda name: self._routes((name,)))
        self._listing = ModelCatalog(registry.providers, transports, config.models)
        self.pools = tuple(pools)
        """The connection pools, for those who count."""

    async def __call__(self, request: Request, /, *, context: RequestContext | None = None) -> Answer:
        """Ask for a whole answer. Raises a `LakehouseError` with its `attempts`."""
        call = self._call(request, context, streams=False)
        ask = (
            partial(try_routes_hedged, call, request_complete)
            if request.quorum is None
            else partial(self._vote, call, request.quorum)
        )
        won = await with_deadline(call, ask, since=call.began)
        call.answered(won.route, won.reply)
        return build_answer(call, won.route, won.reply)

    def stream(self, request: Request, /, *, context: RequestContext | None = None) -> Stream:
        """Ask for a stream: to be entered with `async with`, which waits for the first pieces. See `Stream`.

        Raises ErrProviderNotFound and ErrBadRequest at once.
        """
        if request.quorum is not None:
            raise ErrBadRequest("`quorum` is for whole answers", field="quorum")
        return Stream(self._call(request, context, streams=True))

    def providers(self) -> tuple[ProviderState, ...]:
        """The registered providers, the default one marked."""
        return tuple(
            ProviderState(name=name, available=self._available(provider), default=name == self._settings.default)
            for name, provider in self._registry.providers.items()
        )

    def _available(self, provider: Provider) -> bool:
        failed = provider.readiness is not None and provider.readiness.state.phase == "failed"
        return not failed and not self._circuits.open(provider.name)

    async def models(self) -> Sequence[ModelCard]:
        """The tiers, then the models that the registered providers list; asked for anew once a minute."""
        return await self._listing.models()

    async def probe(self) -> Sequence[ProbeResult]:
        """Whether each registered provider answers."""
        return await self._listing.probe()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the registered providers."""
        return tuple(self._registry.providers)

    def open_circuits(self) -> Mapping[str, int]:
        """For each registered provider, how many of its routes are left alone at the moment."""
        return {name: self._circuits.open(name) for name in self._registry.providers}

    def _vote(self, call: ChatCall, wanted: Quorum) -> Awaitable[CompleteResult]:
        return ask_quorum([(name, self._member(call, name)) for name in wanted.of], wanted.agree)

    def _call(self, request: Request, context: RequestContext | None, *, streams: bool) -> ChatCall:
        """Raises ErrProviderNotFound when a name leads to a provider that is not registered, whatever its place."""
        lingers = None if context is None else self._settings.policy.on_disconnect
        began = None if context is None else context.started
        if context is None:
            context = RequestContext(id="", method="", path="", started=trio.current_time())
        context.assign_tier(request.model if request.model in self._router.tiers else None)
        if request.quorum:
            routes = self._routes(request.quorum.of)
        elif request.fallbacks:
            routes = self._routes((request.model, *request.fallbacks))
        else:
            routes = self._routes_of(request.model)
        return ChatCall(
            resources=self._resources,
            request=request,
            routes=deque(routes),
            context=context,
            disconnect_grace=DisconnectGrace(context, lingers),
            attempt_log=AttemptLog(context),
            streams=streams,
            began=began,
        )

    def _member(self, call: ChatCall, name: str) -> ChatCall:
        """A part of `call` that asks what one name stands for."""
        return replace(call, routes=deque(self._routes((name,))))

    def _routes(self, names: Iterable[str]) -> tuple[Route, ...]:
        return tuple(self._registry.route(target) for target in self._router.chain(names))


@asynccontextmanager
async def open_dispatcher(
    config: Config,
    *,
    env: Mapping[str, str] | None = None,
    local: LocalServer | None = None,
    transports: Mapping[str, httpx.AsyncBaseTransport] | None = None,
    random: Random | None = None,
    reactor: Reactor | None = None,
) -> AsyncIterator[Dispatcher]:
    """A dispatcher for as long as the block runs.

    `env` is where keys are looked for, the process's environment by default. `local` is the embedded model, if one
    runs. `transports` puts an httpx transport in the place of ours for the providers that it names; those that are
    given are the giver's to close. `random` spreads the retries. `reactor`, which somebody else runs, keeps time more
    cheaply than cancel scopes.
    """
    env = os.environ if env is None else env
    registry = register(config.chatd, env, local=_embedded(local) if local else None)
    proxies = Proxies(env) if config.chatd.proxy_from_env else None
    if proxies is not None and (problems := proxies.problems()):
        raise ConfigError([f"chatd.proxy_from_env: {problem}" for problem in problems])
    for warning in registry.warnings:
        logger.warning("%s", warning)
    given = transports or {}
    async with AsyncExitStack() as stack:
        pools: list[Upstream] = []
        ours: dict[str, httpx.AsyncBaseTransport] = {}
        for name, provider in registry.providers.items():
            if name not in given:
                pools.append(_pool(provider, config.chatd, reactor, proxies))
                ours[name] = transport = Transport([pools[-1]])
                stack.push_async_callback(transport.aclose)
        yield Dispatcher(config, registry, {**given, **ours}, pools=pools, random=random)


def _embedded(server: LocalServer) -> Local:
    return Local(server.base_url, Key(server.api_key, "the embedded model"), server.readiness)


def _pool(provider: Provider, settings: ChatTable, reactor: Reactor | None, proxies: Proxies | None) -> Upstream:
    """No limit on the answer's time: the calls have theirs. The embedded model is never behind a proxy."""
    return Upstream(
        provider.base_url,
        name=provider.name,
        max_connections=settings.max_connections,
        max_waiting=settings.max_waiting,
        keepalive_expiry=provider.keepalive_expiry,
        at_once=AT_ONCE,
        proxy=None if proxies is None or provider.name == Local.name else proxies.find(provider.base_url),
        reactor=reactor,
    )
