"""The ASGI application of the services process: every service below its prefix, with and without `/v1`, and health.

    RequestLifetimeMiddleware ─ Router ─┬─ /health
                                        ├─ /storage/…, /v1/storage/…   storaged
                                        └─ …

A request has the id of the gateway's, and a failure is the same JSON document, so a service answers the same bytes
behind the gateway and by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.router import Methods, Mount, Route, Router
from lakehouse.asgi.service_health import ServiceHealth
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.gateway.routes import VERSION
from lakehouse.services.host.errors import error_response
from lakehouse.services.host.names import routes_of

OWN_HEALTH = ("observerd",)
"""The services whose own health says more than their name."""


def make_host_app(apps: Mapping[str, App], *, name: str, active_requests: ActiveRequests) -> RequestLifetimeMiddleware:
    """The application with the services `apps`, by name. `name` is what `/health` calls the process."""
    router = Router([Route(b"/health", Methods(GET=ServiceHealth(name))), *service_mounts(apps)])
    return RequestLifetimeMiddleware(router, active_requests=active_requests, render_error=error_response)


def service_mounts(apps: Mapping[str, App]) -> Iterator[Route | Mount]:
    """The prefixes of the services, with and without `/v1`, and the health of each."""
    for route in routes_of(apps):
        app, below = apps[route.service], route.prefix.removeprefix(VERSION)
        health = Methods(GET=ServiceHealth(route.service))
        for prefix, mounted in ((below, app), (route.prefix, VersionedApp(app))):
            if route.service not in OWN_HEALTH:
                yield Route(prefix + b"/health", health)
            yield Mount(prefix, mounted, route.exact)


class VersionedApp:
    """An application below `/v1`, which becomes the scope's `root_path`."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path", "") + VERSION.decode()
        await self._app({**scope, "root_path": root}, receive, send)
