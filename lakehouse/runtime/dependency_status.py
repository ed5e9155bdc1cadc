"""The status of the service's dependencies: providers, with the source of their key, and the gateway's upstreams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import trio

from lakehouse.chat.dispatch.dispatcher import Dispatcher
from lakehouse.chat.model.listing import ProbeResult
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.registry import register
from lakehouse.config import Config
from lakehouse.config.urls import separate_credentials, socket_path
from lakehouse.config.values import EMBEDDED
from lakehouse.gateway.routes import CHAT_ROUTES, ROUTES
from lakehouse.upstream.connections.forward_proxy import ForwardProxies, ForwardProxy

UPSTREAM_TIMEOUT = 1.0
"""Seconds for a connection: enough for a service in the same building, and short for a user waiting for the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatus:
    """A provider, or one `replica` of several. `where` is its URL and the source of its key, or the reason why it is
    not registered.

    `probed` is the result of a request to it, None without one.
    """

    name: str
    replica: str = ""
    registered: bool
    where: str
    probed: ProbeResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatus:
    """A service of the gateway; `answers` is true if it accepts connections."""

    name: str
    url: str
    answers: bool


def find_embedded_model(config: Config) -> str | None:
    """The model name that leads to the embedded model, None if none is configured."""
    local = config.chatd.local
    if not local.configured:
        return None
    name = Path(local.model).stem if local.model else "demo"
    return name if config.chatd.default == "local" else f"local/{name}"


def list_providers(config: Config, env: Mapping[str, str]) -> list[ProviderStatus]:
    """Every provider, registered or not, without a request to any."""
    registry = register(config, env)
    proxies = ForwardProxies(env if config.chatd.proxy_from_env else {})
    registered_providers = [
        ProviderStatus(
            name=name,
            replica="" if provider.replica is None else str(provider.replica),
            registered=True,
            where=f"{provider.base_url}{_describe_key(provider.key)}{_describe_proxy(proxies.find(provider.base_url))}",
        )
        for name, several in registry.list_replicas().items()
        for provider in several
    ]
    missing = [ProviderStatus(name=name, registered=False, where=why) for name, why in registry.missing.items()]
    if config.chatd.local.configured:
        which = config.chatd.local.model or "random weights"
        missing = [status for status in missing if status.name != "local"]
        registered_providers.append(ProviderStatus(name="local", registered=True, where=f"embedded model: {which}"))
    return registered_providers + missing


def describe_ready(config: Config, env: Mapping[str, str]) -> str:
    """A sentence about the providers that a key in their variable would register; empty if there are none."""
    ready = register(config, env).ready
    return f"a key registers {', '.join(f'{name} (${variable})' for name, variable in ready.items())}" if ready else ""


def _describe_key(key: Key | None) -> str:
    return "" if key is None else f", {key}"


def _describe_proxy(proxy: ForwardProxy | None) -> str:
    return "" if proxy is None else f", through {proxy}"


async def probe_providers(config: Config, env: Mapping[str, str], dispatcher: Dispatcher) -> list[ProviderStatus]:
    """Every provider; each registered one is sent a request through `dispatcher`."""
    probed = {(answer.name, answer.replica): answer for answer in await dispatcher.probe()}
    return [replace(status, probed=probed.get((status.name, status.replica))) for status in list_providers(config, env)]


def list_routes(config: Config) -> list[tuple[str, str, str]]:
    """Prefix, service and URL (or "embedded") of every route of the gateway."""
    routes = ROUTES + CHAT_ROUTES if config.gateway.chatd_url else ROUTES
    return [
        (route.name, route.service, str(separate_credentials(getattr(config.gateway, f"{route.service}_url"))))
        for route in routes
    ]


async def probe_upstreams(config: Config) -> Sequence[UpstreamStatus]:
    """Whether each service with a URL accepts a connection within `UPSTREAM_TIMEOUT`; all are tried at once."""
    urls = {upstream: url for _, upstream, url in list_routes(config) if url != EMBEDDED}
    accepting: set[str] = set()

    async def probe(name: str, url: str) -> None:
        with trio.move_on_after(UPSTREAM_TIMEOUT):
            try:
                stream = await _connect(url)
            except OSError:
                return
            accepting.add(name)
            await stream.aclose()

    async with trio.open_nursery() as nursery:
        for name, url in urls.items():
            nursery.start_soon(probe, name, url)
    return [UpstreamStatus(name=name, url=url, answers=name in accepting) for name, url in urls.items()]


async def _connect(url: str) -> trio.SocketStream:
    if path := socket_path(url):
        return await trio.open_unix_socket(path)
    parts = urlsplit(url)
    return await trio.open_tcp_stream(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
