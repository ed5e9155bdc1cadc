"""What is open while the service runs: child processes, telemetry, sessions, and the generations of the rest."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import trio

from lakehouse.asgi.middleware.cors import CorsMiddleware, Origins
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.middleware.request_runner import RequestRunner
from lakehouse.asgi.router import FindView, Router
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.config import Config
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrUnavailable
from lakehouse.gateway.gateway import Gateway
from lakehouse.net.reactor import Reactor
from lakehouse.runtime.app import make_views
from lakehouse.runtime.console.endpoints import ObservabilityEndpoints, SignInPage
from lakehouse.runtime.data_services import DataServices, DataServicesResource, open_traffic
from lakehouse.runtime.generation import SharedParts
from lakehouse.runtime.generations import Generations
from lakehouse.runtime.graceful_shutdown import abort_remaining, drain_check
from lakehouse.runtime.health import HealthEndpoints, HealthRegistry
from lakehouse.runtime.preflight import Preflight
from lakehouse.runtime.reload.endpoint import reload_route
from lakehouse.runtime.reload.reloader import ReadConfig, Reloader, ReloadReport
from lakehouse.runtime.reload.worker import WorkerReload, ask_supervisor
from lakehouse.runtime.resources import LOCAL_MODEL, SharedResources, open_resource
from lakehouse.runtime.sessions import WorkerSessions, session_routes
from lakehouse.server.server_state import ErrorHeadersFactory
from lakehouse.sessions.registry import SessionRegistry
from lakehouse.telemetry.log import Log
from lakehouse.telemetry.metrics import GaugeSources, LabelValues
from lakehouse.telemetry.telemetry import Telemetry, open_traces
from lakehouse.upstream.pool import Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSlot:
    """A worker's place under a supervisor, which has opened the sockets and what all workers share."""

    sockets: tuple[socket.socket, ...] | None = None
    resources: SharedResources = SharedResources()
    directory: Path | None = None
    index: int = 0


class Runtime:
    """Everything that is open while the service runs, and the application of each listener.

    `lifetimes` are those of the main listener, of the one that serves the chat group alone, and of the one for Ollama's
    clients. `open_runtime` makes it.
    """

    generations: Generations

    def __init__(
        self,
        config: Config,
        reloader: Reloader,
        slot: WorkerSlot,
        *,
        log: Log | None,
        services: DataServices | None,
    ) -> None:
        """`services` is the services process, None without one. Nothing is open yet."""
        self._in_workers = slot.directory is not None
        self.reloader = reloader
        self.stopping = trio.Event()
        self.reactor = Reactor()
        self.sources = GaugeSources(pools=self._list_pools, circuits=self._count_open_circuits)
        self.telemetry = _make_telemetry(config, self.sources, log, slot, services=services)
        self.registry = SessionRegistry(self._list_requests, max_sessions=config.sessions.max_sessions)
        worker_ipc = self.telemetry.worker_ipc
        self.sessions = WorkerSessions(self.registry, worker_ipc, stopped_for=config.sessions.stopped_for)
        self.lifetimes = tuple(_make_lifetime(self.telemetry, self.sources, self.registry) for _ in range(3))
        self.origins = Origins(config.auth.origins)
        self.health = HealthRegistry()
        self.health.register("drain", drain_check(self.stopping))

    async def start(self, config: Config, checked: Preflight, parts: SharedParts, nursery: trio.Nursery) -> None:
        """Open the first generation over `parts`, and run it with all that stays in `nursery` until that is cancelled.

        Raises ConfigError.
        """
        nursery.start_soon(self.reactor.run)
        self.generations = generations = Generations(
            parts, nursery, lifetimes=self.lifetimes, sessions=self.sessions, in_workers=self._in_workers
        )
        await generations.prepare(config, checked)
        generations.commit()
        self.reloader.apply = generations.apply
        WorkerReload(generations, self.telemetry.worker_ipc)
        await nursery.start(self.telemetry.run)
        self.sessions.restore_stops()

    @property
    def dispatcher(self) -> ServiceDispatcher:
        """The dispatcher of new requests."""
        return self.generations.present.dispatcher

    @property
    def gateway(self) -> Gateway:
        """The gateway of new requests."""
        return self.generations.present.gateway

    @property
    def routers(self) -> tuple[Router, ...]:
        """The routers of new requests, one for each of `lifetimes`."""
        return tuple(listener.router for listener in self.generations.present.listeners)

    @property
    def main_app(self) -> App:
        """Both route groups and the service's own paths."""
        return CorsMiddleware(self.lifetimes[0], self.origins)

    def list_apps(self, config: Config) -> list[App]:
        """The application of each address of the configuration, in the order in which they are bound."""
        binds = (config.gateway.bind, config.chatd.bind, config.ollama.bind)
        pairs = zip(binds, self.lifetimes, strict=True)
        return [CorsMiddleware(lifetime, self.origins) for bind, lifetime in pairs if bind is not None]

    @property
    def make_error_headers(self) -> ErrorHeadersFactory:
        """Makes the CORS headers of responses that a connection sends without the application."""
        return self.origins.make_cors_headers

    def set_connection_counter(self, count: Callable[[], int]) -> None:
        """Show in the metrics how many connections of clients are open."""
        self.sources.connections = count

    def abort_remaining(self) -> None:
        """End the requests that are still in flight."""
        abort_remaining(self.lifetimes)

    def _list_requests(self) -> Iterator[RequestRunner]:
        return chain.from_iterable(lifetime.list_requests() for lifetime in self.lifetimes)

    def _list_pools(self) -> Iterator[Upstream]:
        return self.generations.list_pools()

    def _count_open_circuits(self) -> Mapping[str, int]:
        return self.dispatcher.open_circuits()


@asynccontextmanager
async def open_runtime(
    config: Config,
    checked: Preflight,
    *,
    env: Mapping[str, str],
    log: Log | None = None,
    slot: WorkerSlot | None = None,
    views: App | None = None,
    find_view: FindView | None = None,
    read_config: ReadConfig | None = None,
) -> AsyncIterator[Runtime]:
    """Open everything; closed with the block, or when the block is cancelled.

    `views` answers the chat group's listings, and `find_view` finds the application of a path in no table, both for a
    web framework around the service. `read_config` reads the configuration again for a reload. Raises LocalModelError,
    LakeError.
    """
    slot = WorkerSlot() if slot is None else slot
    reloader = Reloader(config, env, read_config)
    async with (
        open_resource(LOCAL_MODEL, config, slot.resources) as local,
        open_resource(DataServicesResource(lambda: reloader.running), config, slot.resources) as services,
        trio.open_nursery() as nursery,
    ):
        runtime = Runtime(config, reloader, slot, log=log, services=services)
        parts = SharedParts(
            env=env,
            local=local,
            services_url="" if services is None else services.url,
            reactor=runtime.reactor,
            telemetry=runtime.telemetry,
            registry=runtime.registry,
            origins=runtime.origins,
            health=HealthEndpoints(runtime.health),
            console=ObservabilityEndpoints(runtime.telemetry),
            routes=(*session_routes(runtime.sessions), reload_route(_choose_reload(reloader, slot))),
            views=make_views(lambda: runtime.dispatcher, views),
            sign_in=SignInPage(),
            find_view=find_view,
        )
        await runtime.start(config, checked, parts, nursery)
        try:
            yield runtime
        finally:
            nursery.cancel_scope.cancel()


def _choose_reload(reloader: Reloader, slot: WorkerSlot) -> Callable[[], Awaitable[ReloadReport]]:
    """What a request for a reload calls: in a worker, its supervisor does the work for all."""
    return reloader.reload if slot.directory is None else partial(ask_supervisor, slot.directory)


def _make_telemetry(
    config: Config, sources: GaugeSources, log: Log | None, slot: WorkerSlot, *, services: DataServices | None
) -> Telemetry:
    return Telemetry(
        LabelValues(),
        sources,
        log=log or Log(config.observe.log),
        traces=open_traces(config.observe),
        directory=slot.directory,
        worker=slot.index,
        reports=None if services is None else services.reports_path,
        traffic=open_traffic(config, services, worker=slot.index),
    )


def _make_lifetime(telemetry: Telemetry, sources: GaugeSources, registry: SessionRegistry) -> RequestLifetimeMiddleware:
    """The lifetime of a listener's requests, around the applications of all generations."""

    def on_end(context: RequestContext) -> None:
        telemetry.on_end(context)
        if context.session is not None:
            registry.leave(context)

    return RequestLifetimeMiddleware(_refuse, active_requests=sources.active_requests, on_end=on_end)


async def _refuse(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Answer in place of the first generation, which replaces this before a listener accepts anything."""
    raise ErrUnavailable("the service is starting", retry_after=1)
