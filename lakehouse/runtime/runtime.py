"""What is open while the service runs: the embedded model, the dispatcher, the gateway, telemetry, and the two apps."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from lakehouse.asgi.middleware.auth import AuthMiddleware, SignIn
from lakehouse.asgi.middleware.cors import CorsMiddleware, Origins
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.router import FindView, Methods, Route, Router
from lakehouse.asgi.types import App
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.config import Config
from lakehouse.gateway.gateway import NO_APPS, Gateway
from lakehouse.net.reactor import Reactor
from lakehouse.runtime.app import legacy_mounts, main_mounts, own_paths
from lakehouse.runtime.ask import ASK_PATH, make_ask_app
from lakehouse.runtime.console.endpoints import ObservabilityEndpoints, SignInPage
from lakehouse.runtime.data_services import DATA_SERVICES, unavailable_apps
from lakehouse.runtime.graceful_shutdown import abort_remaining, drain_check
from lakehouse.runtime.health import HealthEndpoints, HealthRegistry
from lakehouse.runtime.preflight import Preflight
from lakehouse.runtime.resources import LOCAL_MODEL, SharedResources, open_resource
from lakehouse.runtime.tracing import trace_requests
from lakehouse.runtime.workflows import workflow_routes
from lakehouse.server.server_state import ErrorHeadersFactory
from lakehouse.services.host.errors import error_response
from lakehouse.telemetry.log import Log
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry, open_traces


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSlot:
    """A worker's place under a supervisor, which has opened the sockets and what all workers share."""

    sockets: tuple[socket.socket, ...] | None = None
    resources: SharedResources = SharedResources()
    directory: Path | None = None
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything that is open while the service runs, and the application of each listener.

    `routers` and `lifetimes` are those of the main listener and of the one that serves the chat group alone.
    """

    dispatcher: ServiceDispatcher
    gateway: Gateway
    sources: GaugeSources
    stopping: trio.Event
    health: HealthRegistry
    routers: tuple[Router, Router]
    lifetimes: tuple[RequestLifetimeMiddleware, RequestLifetimeMiddleware]
    origins: Origins

    @property
    def main_app(self) -> App:
        """Both route groups and the service's own paths."""
        return self._with_cors(self.lifetimes[0])

    @property
    def legacy_app(self) -> App:
        """The chat group at `/chat`, as on the daemon that it replaced."""
        return self._with_cors(self.lifetimes[1])

    def _with_cors(self, app: App) -> App:
        return CorsMiddleware(app, self.origins) if self.origins else app

    @property
    def make_error_headers(self) -> ErrorHeadersFactory | None:
        """Makes the CORS headers of responses that a connection sends without the application."""
        return self.origins.make_cors_headers if self.origins else None

    def set_connection_counter(self, count: Callable[[], int]) -> None:
        """Show in the metrics how many connections of clients are open."""
        self.sources.connections = count

    def abort_remaining(self) -> None:
        """End the requests that are still in flight."""
        abort_remaining(self.lifetimes)


@asynccontextmanager
async def open_runtime(
    config: Config,
    checked: Preflight,
    *,
    env: Mapping[str, str],
    log: Log | None = None,
    slot: WorkerSlot | None = None,
    apps: Mapping[str, App] = NO_APPS,
    views: App | None = None,
    find_view: FindView | None = None,
) -> AsyncIterator[Runtime]:
    """Open everything; closed with the block, or when the block is cancelled.

    `apps` are services of this process by their names, for the gateway to mount in place of their URLs. `views` answers
    the chat group's listings, and `find_view` finds the application of a path in no table, both for a web framework
    around the service. Raises LocalModelError, LakeError.
    """
    slot = WorkerSlot() if slot is None else slot
    reactor = Reactor()
    async with (
        open_resource(LOCAL_MODEL, config, slot.resources) as local,
        open_resource(DATA_SERVICES, config, slot.resources) as services,
        open_service_dispatcher(config, env=env, local=local, reactor=reactor) as dispatcher,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(reactor.run)
        gateway = Gateway(
            config.gateway,
            apps={**unavailable_apps(config), **apps},
            embedded_url="" if services is None else services.url,
            reactor=reactor,
        )
        sources = GaugeSources(
            pools=lambda: (*gateway.upstreams.values(), *dispatcher.pools), circuits=dispatcher.open_circuits
        )
        reports = None if services is None else services.reports_path
        telemetry = _open_telemetry(config, dispatcher, gateway, sources, log, slot, reports=reports)
        await nursery.start(telemetry.run)
        try:
            parts = (dispatcher, gateway, telemetry, sources)
            yield _build_runtime(config, checked, *parts, views=views, find_view=find_view)
        finally:
            gateway.close()
            nursery.cancel_scope.cancel()


def _label_values(config: Config, dispatcher: ServiceDispatcher, gateway: Gateway) -> LabelValues:
    return LabelValues(
        routes=gateway.prefixes | dict.fromkeys(own_paths(config), ""),
        providers=dispatcher.names,
        tiers=tuple(config.models),
        upstreams=tuple(gateway.upstreams),
    )


def _open_telemetry(
    config: Config,
    dispatcher: ServiceDispatcher,
    gateway: Gateway,
    sources: GaugeSources,
    log: Log | None,
    slot: WorkerSlot,
    *,
    reports: Path | None,
) -> Telemetry:
    return Telemetry(
        _label_values(config, dispatcher, gateway),
        sources,
        log=log or Log(config.observe.log),
        traces=open_traces(config.observe),
        directory=slot.directory,
        worker=slot.index,
        reports=reports,
    )


def _build_runtime(
    config: Config,
    checked: Preflight,
    dispatcher: ServiceDispatcher,
    gateway: Gateway,
    telemetry: Telemetry,
    sources: GaugeSources,
    *,
    views: App | None,
    find_view: FindView | None,
) -> Runtime:
    stopping = trio.Event()
    checks = HealthRegistry()
    checks.register("drain", drain_check(stopping))
    health, console = HealthEndpoints(checks), ObservabilityEndpoints(telemetry)
    ask = make_ask_app(dispatcher, gateway, config)
    composed = (Route(ASK_PATH.encode(), Methods(POST=ask)), *workflow_routes(dispatcher, gateway, config))
    main = main_mounts(
        dispatcher, gateway, health=health, console=console, composed=composed, config=config, views=views
    )
    routers = Router(main, find_view=find_view), Router(legacy_mounts(dispatcher, health=health, config=config))
    origins = Origins(config.auth.origins)
    wrap = partial(
        _add_middleware, config=config, checked=checked, telemetry=telemetry, sources=sources, origins=origins
    )
    return Runtime(
        dispatcher=dispatcher,
        gateway=gateway,
        sources=sources,
        stopping=stopping,
        health=checks,
        routers=routers,
        lifetimes=(wrap(routers[0], SignInPage()), wrap(routers[1])),
        origins=origins,
    )


def _add_middleware(
    router: Router,
    sign_in: SignIn | None = None,
    *,
    config: Config,
    checked: Preflight,
    telemetry: Telemetry,
    sources: GaugeSources,
    origins: Origins,
) -> RequestLifetimeMiddleware:
    """The router inside of authentication, traces and the requests' lifetime; CORS is added around that."""
    guarded = AuthMiddleware(
        router,
        tokens=checked.tokens,
        allow=config.auth.allow,
        trusted=config.gateway.trusted_proxies,
        origins=origins,
        sign_in=sign_in,
    )
    return RequestLifetimeMiddleware(
        trace_requests(guarded, telemetry.traces),
        active_requests=sources.active_requests,
        on_end=telemetry.on_end,
        render_error=error_response,
    )
