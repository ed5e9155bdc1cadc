"""Data services as daemons: `lakehouse run NAME...`, each at an address of its own, in one process on one folder.

    AuthMiddleware inside of RequestLifetimeMiddleware, for each listener:
        Router ─┬─ /health, /healthz, /readyz
                ├─ /metrics, /v1/requests
                └─ the prefix of the service, with and without /v1

All of them are served on a private Unix socket as well, which the folder's lock names: commands find the lake by it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio

from lakehouse.asgi.middleware.auth import AuthMiddleware
from lakehouse.asgi.middleware.cors import CorsMiddleware, Origins
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.router import Methods, Route, Router
from lakehouse.asgi.service_health import ServiceHealth
from lakehouse.asgi.types import App
from lakehouse.config import Address, Config
from lakehouse.core.context import RequestContext
from lakehouse.gateway.routes import VERSION
from lakehouse.runtime.console.endpoints import ObservabilityEndpoints
from lakehouse.runtime.graceful_shutdown import abort_remaining, drain_check
from lakehouse.runtime.health import HealthEndpoints, HealthRegistry
from lakehouse.runtime.preflight import Preflight, preflight_daemons
from lakehouse.server.listening import bind_socket, listen_on_unix_socket
from lakehouse.server.server import BoundApp, Service, serve_listeners
from lakehouse.services.host.app import make_host_app, service_mounts
from lakehouse.services.host.composition import OpenServices, open_apps
from lakehouse.services.host.errors import error_response
from lakehouse.services.host.names import routes_of
from lakehouse.services.lake.directory import locate, open_directory
from lakehouse.telemetry.log import Log
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry, open_traces
from lakehouse.telemetry.worker_ipc import make_private_directory


def binds_of(config: Config, names: Sequence[str]) -> dict[str, Address]:
    """The addresses of the daemons by their keys in the configuration."""
    return {f"{name}.bind": getattr(config, name).bind for name in names}


async def run_daemons(
    config: Config,
    names: Sequence[str],
    *,
    env: Mapping[str, str],
    log: Log,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the data services `names`, in this order of URLs, until `service.stop()`, and drain.

    Raises ConfigError, AddressError for an address that is taken, and LakeError, for example because another process
    has the folder open.
    """
    binds = binds_of(config, names)
    checked = preflight_daemons(config, binds, env)
    async with AsyncExitStack() as stack:
        sockets = [stack.enter_context(bind_socket(*address)) for address in binds.values()]
        private = stack.enter_context(make_private_directory())
        listener = stack.enter_context(listen_on_unix_socket(str(private / "services.sock")))
        folder = locate(config.lake.path, env)
        directory = await stack.enter_async_context(open_directory(folder, socket=listener.getsockname()))
        services = await stack.enter_async_context(open_apps(directory, config))
        async with _open_daemons(config, checked, names, services, log) as daemons:
            local = make_host_app(
                {name: services.apps[name] for name in names},
                name="services",
                active_requests=daemons.sources.active_requests,
            )
            pairs = zip(daemons.lifetimes, sockets, strict=True)
            bound = [BoundApp(daemons.with_cors(app), sock, checked.tls) for app, sock in pairs]
            await serve_listeners(
                [*bound, BoundApp(local, listener.dup())],
                stopping=daemons.stopping,
                drain_timeout=config.server.drain_timeout,
                abort_requests=lambda: abort_remaining([*daemons.lifetimes, local]),
                on_connection_counter=daemons.set_connection_counter,
                task_status=task_status,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemons:
    """The open daemons: the application of each, in the order of their names, and what they share."""

    lifetimes: Sequence[RequestLifetimeMiddleware]
    sources: GaugeSources
    stopping: trio.Event
    origins: Origins

    def with_cors(self, app: App) -> App:
        """The application for web pages of the configured origins as well."""
        return CorsMiddleware(app, self.origins) if self.origins else app

    def set_connection_counter(self, count: Callable[[], int]) -> None:
        """Show in the metrics how many connections of clients are open."""
        self.sources.connections = count


@asynccontextmanager
async def _open_daemons(
    config: Config, checked: Preflight, names: Sequence[str], services: OpenServices, log: Log
) -> AsyncIterator[Daemons]:
    sources, stopping = GaugeSources(), trio.Event()
    telemetry = Telemetry(_label_values(names), sources, log=log, traces=open_traces(config.observe))
    sources.gauges.register(*services.gauges)
    checks = HealthRegistry()
    checks.register("drain", drain_check(stopping))
    origins = Origins(config.auth.origins)

    def make(name: str) -> RequestLifetimeMiddleware:
        router = _make_router(name, services.apps[name], HealthEndpoints(checks), ObservabilityEndpoints(telemetry))
        guarded = AuthMiddleware(
            router,
            tokens=checked.tokens,
            allow=config.auth.allow,
            origins=origins,
            name_route=router.name_route,
        )
        prefixes = _prefixes_of(name)

        def record(context: RequestContext) -> None:
            route = context.route.removeprefix(VERSION.decode())  # of the router inside of the service
            if found := next((prefix for prefix in prefixes if route.startswith(prefix)), None):
                context.assign_route(found)
            telemetry.on_end(context)

        return RequestLifetimeMiddleware(
            guarded, active_requests=sources.active_requests, on_end=record, render_error=error_response
        )

    async with trio.open_nursery() as nursery:
        await nursery.start(telemetry.run)
        yield Daemons(lifetimes=[make(name) for name in names], sources=sources, stopping=stopping, origins=origins)
        nursery.cancel_scope.cancel(reason="drained")


def _make_router(name: str, app: App, health: App, console: App) -> Router:
    own: dict[bytes, App] = {b"/health": ServiceHealth(name), b"/healthz": health, b"/readyz": health}
    own |= {b"/metrics": console, b"/v1/requests": console}
    routes = [Route(path, Methods(GET=endpoint)) for path, endpoint in own.items()]
    return Router([*routes, *service_mounts({name: app})])


def _label_values(names: Sequence[str]) -> LabelValues:
    return LabelValues(routes={prefix: name for name in names for prefix in _prefixes_of(name)})


def _prefixes_of(name: str) -> list[str]:
    """The paths below which a daemon answers, such as `/storage`; those that begin with another one first."""
    return sorted((route.name.removeprefix(VERSION.decode()) for route in routes_of([name])), key=len, reverse=True)
