"""What is there: the providers with where their key was found, and the upstreams, with whether they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import trio

from lakehouse.chat.dispatch.dispatcher import Dispatcher
from lakehouse.chat.model.listing import ProbeResult
from lakehouse.chat.providers.keys import Key
from lakehouse.chat.providers.registry import register
from lakehouse.config import Config
from lakehouse.config.urls import separate_credentials, socket_path
from lakehouse.gateway.routes import CHAT_ROUTES, ROUTES
from lakehouse.upstream.proxy import Proxies, Proxy

# Long enough for a service in the same building, short enough for somebody who waits for the list.
PROBE_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatus:
    """A provider: where it is and where its key came from, or why it is not registered; `probed` once it was asked."""

    name: str
    registered: bool
    where: str
    probed: ProbeResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamStatus:
    """One of the gateway's services, and whether something accepts connections there."""

    name: str
    url: str
    answers: bool


def embedded_model(config: Config) -> str | None:
    """The name by which the embedded model can be asked, if the configuration has one."""
    local = config.chatd.local
    if not local.configured:
        return None
    name = Path(local.model).stem if local.model else "demo"
    return name if config.chatd.default == "local" else f"local/{name}"


def known_providers(config: Config, env: Mapping[str, str]) -> list[ProviderStatus]:
    """Every provider, registered or not; nobody is asked."""
    registry = register(config.chatd, env)
    proxies = Proxies(env if config.chatd.proxy_from_env else {})
    there = [
        ProviderStatus(
            name=name,
            registered=True,
            where=f"{provider.base_url}{_key(provider.key)}{_through(proxies.find(provider.base_url))}",
        )
        for name, provider in registry.providers.items()
    ]
    missing = [ProviderStatus(name=name, registered=False, where=why) for name, why in registry.missing.items()]
    if config.chatd.local.configured:
        which = config.chatd.local.model or "random weights"
        missing = [seen for seen in missing if seen.name != "local"]
        there.append(ProviderStatus(name="local", registered=True, where=f"embedded model: {which}"))
    return there + missing


def _key(key: Key | None) -> str:
    return "" if key is None else f", {key}"


def _through(proxy: Proxy | None) -> str:
    return "" if proxy is None else f", through {proxy}"


async def probe_providers(config: Config, env: Mapping[str, str], dispatcher: Dispatcher) -> list[ProviderStatus]:
    """The same, with the registered ones asked through `dispatcher` whether they are there."""
    probed = {answer.name: answer for answer in await dispatcher.probe()}
    return [
        ProviderStatus(name=seen.name, registered=seen.registered, where=seen.where, probed=probed.get(seen.name))
        for seen in known_providers(config, env)
    ]


def routes_of(config: Config) -> list[tuple[str, str, str]]:
    """Prefix, upstream and URL of every route that the gateway passes on."""
    routes = ROUTES + CHAT_ROUTES if config.gateway.chatd_url else ROUTES
    return [
        (route.name, route.service, str(separate_credentials(getattr(config.gateway, f"{route.service}_url"))))
        for route in routes
    ]


async def probe_upstreams(config: Config) -> Sequence[UpstreamStatus]:
    """Whether each upstream accepts a connection within `PROBE_TIMEOUT`; all are asked at once."""
    urls = {upstream: url for _, upstream, url in routes_of(config)}
    accepting: set[str] = set()

    async def knock(name: str, url: str) -> None:
        with trio.move_on_after(PROBE_TIMEOUT):
            try:
                stream = await _connect(url)
            except OSError:
                return
            accepting.add(name)
            await stream.aclose()

    async with trio.open_nursery() as nursery:
        for name, url in urls.items():
            nursery.start_soon(knock, name, url)
    return [UpstreamStatus(name=name, url=url, answers=name in accepting) for name, url in urls.items()]


async def _connect(url: str) -> trio.SocketStream:
    if path := socket_path(url):
        return await trio.open_unix_socket(path)
    parts = urlsplit(url)
    return await trio.open_tcp_stream(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
