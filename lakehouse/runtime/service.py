"""The service as a whole: what it opens, where it listens, how it starts and ends.

    addresses                 sockets are bound: an address that is taken is known before a model is loaded
      └─ open_house           resources: embedded model, dispatcher, gateway, observer
           └─ run_sites       connections are accepted, no longer refused, and drained at the end

`serve` does all of it in the caller's nursery. `create_app` gives the application alone, for `hypercorn -k trio`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from lakehouse.asgi.middleware.auth import HEALTH_PATHS, AuthMiddleware
from lakehouse.asgi.middleware.cors import CrossOrigin, Origins
from lakehouse.asgi.middleware.request_lifetime import RequestLifetimeMiddleware
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.open_dispatcher import open_service_dispatcher
from lakehouse.config import Config, load_config
from lakehouse.gateway.proxy import Gateway
from lakehouse.net.reactor import Reactor
from lakehouse.runtime.app import CHAT_PATHS, LEGACY_CHAT_PATHS, Application, error_response
from lakehouse.runtime.console.endpoints import PATHS, ObservabilityEndpoints, SignIn, traced
from lakehouse.runtime.health import HealthEndpoints, HealthRegistry, drain_check
from lakehouse.runtime.preflight import Preflight, preflight
from lakehouse.runtime.resources import LOCAL_MODEL, SharedResources, obtain
from lakehouse.server.listening import bind_socket
from lakehouse.server.server import BoundApp, Service, serve_listeners
from lakehouse.server.server_state import Mark
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
    """Everything that is open while the service runs, and its applications: all of it, and the chat group alone."""

    dispatcher: ServiceDispatcher
    gateway: Gateway
    sources: GaugeSources
    stopping: trio.Event
    health: HealthRegistry
    lifelines: tuple[RequestLifetimeMiddleware, RequestLifetimeMiddleware]
    origins: Origins

    @property
    def main_app(self) -> App:
        """Both groups."""
        return self._readable(self.lifelines[0])

    @property
    def chat(self) -> App:
        """The chat group at /chat, as on the daemon of old."""
        return self._readable(self.lifelines[1])

    def _readable(self, app: App) -> App:
        """The application with its answers marked for the pages that may call it, if there are any."""
        return CrossOrigin(app, self.origins) if self.origins else app

    @property
    def mark(self) -> Mark | None:
        """The same for what a connection answers by itself."""
        return self.origins.mark if self.origins else None

    def set_connection_counter(self, count: Callable[[], int]) -> None:
        """Show in the metrics how many connections of clients are open."""
        self.sources.connections = count

    def abort_remaining(self) -> None:
        """End the requests that are still here."""
        for lifetime in self.lifelines:
            lifetime.drain()


async def serve(
    config: Config | None = None,
    *,
    env: Mapping[str, str] | None = None,
    log: Log | None = None,
    slot: WorkerSlot | None = None,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the service in the caller's nursery: `service = await nursery.start(serve, config)`, then `service.urls`.

    Returns after `service.stop()`, when every request has ended or `[server] drain_timeout` has passed. A start that
    fails raises from `nursery.start` with nothing bound: ConfigError, LocalModelError, or OSError for an address that
    cannot be had. When cancelled, every request ends at once and everything is closed. Signals are the caller's
    business. `env` is where keys and tokens are looked for, the process's environment by default; `slot` is for
    `lakehouse serve --workers`.
    """
    config = Config() if config is None else config
    env = os.environ if env is None else env
    slot = WorkerSlot() if slot is None else slot
    checked = preflight(config, env)
    with addresses(config, slot.sockets) as sockets:
        async with open_runtime(config, checked, env=env, log=log, slot=slot) as runtime:
            apps = (runtime.main_app, runtime.chat)
            sites = [BoundApp(app, sock, checked.tls, runtime.mark) for app, sock in zip(apps, sockets, strict=False)]
            await serve_listeners(
                sites,
                stopping=runtime.stopping,
                drain_timeout=config.server.drain_timeout,
                expire=runtime.abort_remaining,
                count_with=runtime.set_connection_counter,
                task_status=task_status,
            )


@contextmanager
def addresses(config: Config, given: Sequence[socket.socket] | None = None) -> Iterator[Sequence[socket.socket]]:
    """A socket for each address, the gateway's first: those that were given, or new ones. Closed with the block."""
    binds = [config.gateway.bind, *([config.chatd.bind] if config.chatd.bind else [])]
    with ExitStack() as stack:
        if given is None:
            yield [stack.enter_context(bind_socket(*address)) for address in binds]
        else:
            yield [stack.enter_context(sock) for sock in given]


@asynccontextmanager
async def open_runtime(
    config: Config,
    checked: Preflight,
    *,
    env: Mapping[str, str],
    log: Log | None = None,
    slot: WorkerSlot | None = None,
) -> AsyncIterator[Runtime]:
    """Open everything and close it with the block."""
    slot = WorkerSlot() if slot is None else slot
    reactor = Reactor()
    async with (
        obtain(LOCAL_MODEL, config, slot.resources) as local,
        open_service_dispatcher(config, env=env, local=local, reactor=reactor) as dispatcher,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(reactor.run)
        gateway = Gateway(config.gateway, reactor=reactor)
        sources = GaugeSources(
            pools=lambda: (*gateway.upstreams.values(), *dispatcher.pools), circuits=dispatcher.open_circuits
        )
        names = LabelValues(
            routes=gateway.prefixes | dict.fromkeys(_own_paths(config), ""),
            providers=dispatcher.names,
            tiers=tuple(config.models),
            upstreams=tuple(gateway.upstreams),
        )
        observer = Telemetry(
            names,
            sources,
            log=log or Log(config.observe.log),
            traces=open_traces(config.observe),
            directory=slot.directory,
            worker=slot.index,
        )
        await nursery.start(observer.run)
        try:
            yield _build_apps(config, checked, dispatcher, gateway, observer, sources)
        finally:
            gateway.close()
            nursery.cancel_scope.cancel()


def _own_paths(config: Config) -> tuple[str, ...]:
    """The routes that have no upstream behind them."""
    chat = () if config.gateway.chatd_url else CHAT_PATHS
    return (*chat, *LEGACY_CHAT_PATHS, *PATHS, *(path.decode() for path in HEALTH_PATHS))


def _build_apps(
    config: Config,
    checked: Preflight,
    dispatcher: ServiceDispatcher,
    gateway: Gateway,
    observer: Telemetry,
    sources: GaugeSources,
) -> Runtime:
    stopping = trio.Event()
    checks = HealthRegistry()
    checks.register("drain", drain_check(stopping))
    health = HealthEndpoints(checks)
    views = ObservabilityEndpoints(observer)
    own = dict.fromkeys(HEALTH_PATHS, health) | {path.encode(): views for path in PATHS}
    chat = None if config.gateway.chatd_url else dispatcher
    limits = config.chatd
    application = partial(
        Application, max_body=limits.max_body, timeout=limits.timeout, idle_timeout=limits.idle_timeout
    )
    whole = application(gateway=gateway, chat=chat, own=own)
    old = dict.fromkeys(HEALTH_PATHS, health)
    alone = application(gateway=None, chat=dispatcher, own=old, prefix="")
    origins = Origins(config.auth.origins)
    auth = partial(
        AuthMiddleware,
        tokens=checked.tokens,
        allow=config.auth.allow,
        trusted=config.gateway.trusted_proxies,
        origins=origins,
    )
    line = partial(RequestLifetimeMiddleware, active_requests=sources.active_requests, on_end=observer.on_end)
    lifelines = (
        line(traced(auth(whole, sign_in=SignIn()), observer.traces), render_error=error_response),
        line(traced(auth(alone), observer.traces), render_error=error_response),
    )
    return Runtime(
        dispatcher=dispatcher,
        gateway=gateway,
        sources=sources,
        stopping=stopping,
        health=checks,
        lifelines=lifelines,
        origins=origins,
    )


def create_app(config: Config | None = None) -> App:
    """The application for another ASGI server: `hypercorn -k trio 'lakehouse.runtime.service:create_app()'`.

    Its resources are opened and closed by the server's lifespan; the configuration is found as `lakehouse serve` does.
    """
    return LifespanApp(load_config().config if config is None else config)


class LifespanApp:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._runtime: Runtime | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._runtime is None:
            raise RuntimeError("the server has not run the lifespan's startup, which opens what the application needs")
        else:
            await self._runtime.main_app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with open_runtime(self._config, preflight(self._config, os.environ), env=os.environ) as self._runtime:
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self._runtime.stopping.set()
        self._runtime = None
        await send({"type": "lifespan.shutdown.complete"})
