"""A service in this process: an ASGI application behind a route of the gateway."""

from __future__ import annotations

from lakehouse.asgi import request_scope
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.gateway.routes import VERSION, GatewayRoute, check_path


class MountedApp:
    """The ASGI application of one route to a service in this process.

    The service sees the paths that it would see behind a URL: the version is the scope's `root_path`, which web
    frameworks take off before they route, so `/v1/sql/explain` is its `/sql/explain`. The rest of the scope is the
    client's own; the service is inside the request's lifetime, and is cancelled when the client leaves, at the deadline
    and at the end of a drain. What it raises becomes the response if none has begun.
    """

    def __init__(self, route: GatewayRoute, app: App, *, idle_timeout: float) -> None:
        """`idle_timeout` is how long the client may take nothing of the response, in seconds."""
        self._route = route
        self._app = app
        self._idle_timeout = idle_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_scope.get(scope)
        request.context.begin_relay(self._route.name, self._route.service)
        check_path(self._route.prefix, scope["raw_path"])
        if request.server is not None:
            request.server.idle_limit = self._idle_timeout
        root = scope.get("root_path", "") + VERSION.decode()
        await self._app({**scope, "root_path": root}, receive, send)
