"""The gateway group: every route of the configuration with the service behind it."""

from __future__ import annotations

from collections.abc import Mapping

from lakehouse.asgi.router import Mount
from lakehouse.asgi.types import App
from lakehouse.config import GatewayTable
from lakehouse.config.urls import separate_credentials
from lakehouse.gateway.mounted_app import MountedApp
from lakehouse.gateway.reverse_proxy import ReverseProxy
from lakehouse.gateway.routes import CHAT_ROUTES, ROUTES, GatewayRoute
from lakehouse.net.networks import Networks
from lakehouse.net.reactor import Reactor
from lakehouse.upstream.pool import Upstream

NO_APPS: Mapping[str, App] = {}


class Gateway:
    """The services behind the routes, and the mounts by which a router reaches them.

    A service is an ASGI application of this process (`MountedApp`) if `apps` has one under its name, else it is reached
    by the URL of the configuration (`ReverseProxy`). Each URL has its own `Upstream`, with its own connections and
    limits, so a slow service takes nothing from the others.
    """

    def __init__(
        self, table: GatewayTable, *, apps: Mapping[str, App] = NO_APPS, reactor: Reactor | None = None
    ) -> None:
        """`reactor`, which the caller runs, keeps the limits of the upstreams at less cost than cancel scopes."""
        self.routes = ROUTES + CHAT_ROUTES if table.chatd_url else ROUTES
        self._table = table
        self._trusted = Networks(table.trusted_proxies)
        self._reactor = reactor or Reactor()  # for its clock
        self._apps = apps
        names = dict.fromkeys(route.service for route in self.routes if route.service not in apps)
        self.upstreams: Mapping[str, Upstream] = {name: _upstream(name, table, reactor) for name in names}
        """The services with a URL, by name."""
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
        return ReverseProxy(
            route,
            self.upstreams[route.service],
            trusted=self._trusted,
            idle_timeout=idle_timeout,
            reactor=self._reactor,
        )


def _upstream(name: str, table: GatewayTable, reactor: Reactor | None) -> Upstream:
    return Upstream(
        separate_credentials(getattr(table, f"{name}_url")),
        name=name,
        max_connections=table.max_connections,
        max_waiting=table.max_waiting,
        connect_timeout=table.connect_timeout,
        response_timeout=table.response_timeout,
        idle_timeout=table.idle_timeout,
        reactor=reactor,
    )
