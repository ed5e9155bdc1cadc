"""The gateway group: every route of the configuration with the service behind it."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.asgi.router import Mount
from lakehouse.asgi.types import App
from lakehouse.config import GatewayTable
from lakehouse.config.urls import separate_credentials
from lakehouse.config.values import EMBEDDED
from lakehouse.gateway.file_relay import FileRelay
from lakehouse.gateway.mounted_app import MountedApp
from lakehouse.gateway.reverse_proxy import ReverseProxy
from lakehouse.gateway.routes import CHAT_ROUTES, ROUTES, GatewayRoute
from lakehouse.gateway.service_calls import ServiceCalls
from lakehouse.net.networks import Networks
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.pool import Upstream

FILE_SERVICE = "storaged"
"""The embedded service whose large files the gateway sends itself."""

NO_APPS: Mapping[str, App] = {}

EMBEDDED_RESPONSE_TIMEOUT = 3600.0
"""Seconds until the response head of an embedded service, in place of `[gateway] response_timeout`: each service has
limits of its own, and an upload of gigabytes is converted before it is answered."""


class Gateway:
    """The services behind the routes, and the mounts by which a router reaches them.

    A service is an ASGI application of this process (`MountedApp`) if `apps` has one under its name, else it is reached
    by the URL of the configuration, or by the URL of the services process (`ReverseProxy`). Each service has its own
    `Upstream`, with its own connections and limits, so a slow service takes nothing from the others.
    """

    def __init__(
        self,
        table: GatewayTable,
        *,
        apps: Mapping[str, App] = NO_APPS,
        embedded_url: str = "",
        reactor: Reactor | None = None,
    ) -> None:
        """`embedded_url` is where the services process answers for every service that is embedded and not in `apps`.

        `reactor`, which the caller runs, keeps the limits of the upstreams at less cost than cancel scopes. Raises
        ValueError for an embedded service if there is no `embedded_url`.
        """
        self.routes = ROUTES + CHAT_ROUTES if table.chatd_url else ROUTES
        self._table = table
        self._trusted = Networks(table.trusted_proxies)
        self._reactor = reactor or Reactor()  # for its clock
        self._apps = apps
        names = dict.fromkeys(route.service for route in self.routes if route.service not in apps)
        self.upstreams: Mapping[str, Upstream] = {name: _upstream(name, table, embedded_url, reactor) for name in names}
        """The services that are reached by a URL, by name."""
        self.calls = ServiceCalls({**apps, **self.upstreams})
        """Calls of the services by this process itself."""
        self.mounts = tuple(Mount(route.prefix, self._backend(route), route.exact) for route in self.routes)

    @property
    def prefixes(self) -> dict[str, str]:
        """The name of the service behind each route."""
        return {route.name: route.service for route in self.routes}

    def close(self) -> None:
        """Close idle connections now and busy ones with their response."""
        for upstream in self.upstreams.values():
            upstream.close()

    def _backend(self, route: GatewayRoute) -> App:
        idle_timeout = self._table.idle_timeout
        if (app := self._apps.get(route.service)) is not None:
            return MountedApp(route, app, idle_timeout=idle_timeout)
        proxy = ReverseProxy(
            route,
            self.upstreams[route.service],
            trusted=self._trusted,
            idle_timeout=idle_timeout,
            reactor=self._reactor,
        )
        if route.service != FILE_SERVICE:
            return proxy
        return FileRelay(proxy, offers=self._table.storaged_url == EMBEDDED)


def _upstream(name: str, table: GatewayTable, embedded_url: str, reactor: Reactor | None) -> Upstream:
    url: str = getattr(table, f"{name}_url")
    embedded = url == EMBEDDED
    if embedded and not embedded_url:
        raise ValueError(f"{name} is embedded, and there is no services process")
    return Upstream(
        separate_credentials(embedded_url if embedded else url),
        name=name,
        max_connections=table.max_connections,
        max_waiting=table.max_waiting,
        connect_timeout=table.connect_timeout,
        response_timeout=EMBEDDED_RESPONSE_TIMEOUT if embedded else table.response_timeout,
        idle_timeout=table.idle_timeout,
        reactor=reactor,
    )
