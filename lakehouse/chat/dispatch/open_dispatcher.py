"""Opens a dispatcher: finds keys, registers providers and opens a connection pool for each of them."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import httpx

from lakehouse.chat.dispatch.calls.call_observer import CallObserver
from lakehouse.chat.dispatch.dispatcher import Dispatcher, ServiceDispatcher
from lakehouse.chat.dispatch.transport.interface import ProviderTransport
from lakehouse.chat.dispatch.transport.via_httpx import HttpxTransport
from lakehouse.chat.dispatch.transport.via_pool import PoolTransport
from lakehouse.chat.providers.base import Provider
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.local import Local
from lakehouse.chat.providers.registry import register
from lakehouse.config import ChatTable, Config, ConfigError
from lakehouse.local_model.readiness import Readiness
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.connections.forward_proxy import ForwardProxies
from lakehouse.upstream.pool import Upstream

logger = logging.getLogger("lakehouse.chat")

READ_BUDGET = 32 * 1024
"""Bytes of an answer that are read before other tasks get to run. Small chunks of that size take a millisecond or two
to parse; the budget of relayed bodies would take a tenth of a second here."""

AnyDispatcher = TypeVar("AnyDispatcher", bound=Dispatcher)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalServer:
    """The server of the embedded model: its base URL, which ends in `/v1`, its key, and the name of its model.

    `readiness` reports whether the server is ready; without it, the server is assumed to be.
    """

    base_url: str
    api_key: str
    model: str
    readiness: Readiness | None = None


@asynccontextmanager
async def open_dispatcher(
    config: Config,
    *,
    env: Mapping[str, str] | None = None,
    local: LocalServer | None = None,
    transports: Mapping[str, httpx.AsyncBaseTransport] | None = None,
    random: Random | None = None,
) -> AsyncIterator[Dispatcher]:
    """A dispatcher for the duration of the block.

    `env` is searched for keys; the default is the environment of the process. `local` is the server of the embedded
    model, if there is one. `transports` replaces the connection pools of the providers that it names; the caller closes
    these transports. `random` draws the jitter of retries. Raises ConfigError for a proxy that cannot be used.
    """
    opened = _open(Dispatcher, config, env=env, local=local, transports=transports, random=random)
    async with opened as dispatcher:
        yield dispatcher


@asynccontextmanager
async def open_service_dispatcher(
    config: Config,
    *,
    env: Mapping[str, str] | None = None,
    local: LocalServer | None = None,
    transports: Mapping[str, httpx.AsyncBaseTransport] | None = None,
    random: Random | None = None,
    reactor: Reactor | None = None,
    observer: CallObserver | None = None,
) -> AsyncIterator[ServiceDispatcher]:
    """`open_dispatcher` for the service.

    `reactor`, which the caller runs, polls the sockets of the pools and keeps their time, at less cost than tasks.
    `observer` follows the calls of sessions.
    """
    opened = _open(
        ServiceDispatcher,
        config,
        env=env,
        local=local,
        transports=transports,
        random=random,
        reactor=reactor,
        observer=observer,
    )
    async with opened as dispatcher:
        yield dispatcher


@asynccontextmanager
async def _open(
    dispatcher_class: type[AnyDispatcher],
    config: Config,
    *,
    env: Mapping[str, str] | None,
    local: LocalServer | None,
    transports: Mapping[str, httpx.AsyncBaseTransport] | None,
    random: Random | None,
    reactor: Reactor | None = None,
    observer: CallObserver | None = None,
) -> AsyncIterator[AnyDispatcher]:
    env = os.environ if env is None else env
    registry = register(config, env, local=_make_local(local) if local else None)
    proxies = find_proxies(config.chatd, env)
    for warning in registry.warnings:
        logger.warning("%s", warning)
    given = transports or {}
    async with AsyncExitStack() as stack:
        pools: list[Upstream] = []
        adapters: dict[str, ProviderTransport] = {}
        for provider in (host for hosts in registry.list_hosts().values() for host in hosts):
            name = provider.name
            if name in given:
                transport: ProviderTransport = HttpxTransport(given[name], base_url=provider.base_url, provider=name)
            else:
                pool = make_pool(provider, config.chatd, reactor, proxies)
                stack.callback(pool.close)
                pools.append(pool)
                transport = PoolTransport(pool)
            adapters[provider.transport_name] = transport
        yield dispatcher_class(config, registry, adapters, pools=pools, random=random, observer=observer)


def _make_local(server: LocalServer) -> Local:
    return Local(server.base_url, Key(server.api_key, "the embedded model"), server.readiness)


def find_proxies(settings: ChatTable, env: Mapping[str, str]) -> ForwardProxies | None:
    """The forward proxies of the environment, if the configuration has them used. Raises ConfigError."""
    proxies = ForwardProxies(env) if settings.proxy_from_env else None
    if proxies is not None and (problems := proxies.problems()):
        raise ConfigError([f"chatd.proxy_from_env: {problem}" for problem in problems])
    return proxies


def make_pool(
    provider: Provider, settings: ChatTable, reactor: Reactor | None, proxies: ForwardProxies | None
) -> Upstream:
    """A pool without a response timeout: calls have their own. The embedded model is never behind a proxy."""
    return Upstream(
        provider.base_url,
        name=provider.name,
        max_connections=settings.max_connections,
        max_waiting=settings.max_waiting,
        keepalive_expiry=provider.keepalive_expiry,
        bytes_per_turn=READ_BUDGET,
        proxy=None if proxies is None or provider.name == Local.name else proxies.find(provider.base_url),
        reactor=reactor,
    )
