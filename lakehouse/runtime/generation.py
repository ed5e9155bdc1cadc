"""A generation: everything that is made from one configuration and may be replaced while the service runs.

    Generation ─┬─ dispatcher   providers with their keys, their pools and circuits
                ├─ gateway      upstreams with their pools
                └─ routers      of the three listeners, inside of sessions, authentication and traces

What stays is in `SharedParts`: child processes, telemetry, sessions, the listeners and the requests in flight.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lakehouse.asgi.middleware.auth import AuthMiddleware, SignIn
from lakehouse.asgi.middleware.cors import Origins
from lakehouse.asgi.middleware.request_runner import ErrorRenderer
from lakehouse.asgi.middleware.sessions import SessionMiddleware
from lakehouse.asgi.middleware.tokens import Tokens
from lakehouse.asgi.router import FindView, Methods, Route, Router
from lakehouse.asgi.types import App
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.chat.dispatch.open_dispatcher import LocalServer, open_service_dispatcher
from lakehouse.config import Config
from lakehouse.gateway.gateway import Gateway
from lakehouse.net.reactor import Reactor
from lakehouse.runtime.app import Mounts, Views, legacy_mounts, main_mounts, ollama_listener_mounts, own_paths
from lakehouse.runtime.ask import ASK_PATH, make_ask_app
from lakehouse.runtime.data_services import unavailable_apps
from lakehouse.runtime.ollama import (
    PRINCIPAL,
    is_on_main_listener,
    make_ollama_app,
    ollama_error_response,
    ollama_paths,
)
from lakehouse.runtime.preflight import Preflight
from lakehouse.runtime.tracing import keep_contents, trace_requests
from lakehouse.runtime.workflows import workflow_routes
from lakehouse.services.host.errors import error_response
from lakehouse.sessions.registry import SessionRegistry
from lakehouse.telemetry.metrics import LabelValues
from lakehouse.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from lakehouse.runtime.session_guard import SessionGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedParts:
    """What all generations of a service have in common.

    `services_url` is the URL of the services process, empty without one. `health`, `console` and `routes` are the
    service's own paths; `views` answer the listings of the chat group, and `find_view` finds the application of a path
    in no table.
    """

    env: Mapping[str, str]
    local: LocalServer | None
    services_url: str
    reactor: Reactor
    telemetry: Telemetry
    registry: SessionRegistry
    origins: Origins
    health: App
    console: App
    routes: Mounts
    views: Views
    sign_in: SignIn
    find_view: FindView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerApp:
    """What one listener serves, inside of the lifetime of its requests."""

    router: Router
    app: App
    render_error: ErrorRenderer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Generation:
    """What is open for one configuration. `listeners` are those of `runtime.Runtime`, in the same order."""

    config: Config
    checked: Preflight
    dispatcher: ServiceDispatcher
    gateway: Gateway
    guard: SessionGuard | None
    listeners: tuple[ListenerApp, ListenerApp, ListenerApp]

    @property
    def label_values(self) -> LabelValues:
        """The names of the configuration that may be labels of metrics."""
        return LabelValues(
            routes=self.gateway.prefixes | dict.fromkeys(own_paths(self.config), ""),
            providers=self.dispatcher.names,
            tiers=tuple(self.config.models),
            upstreams=tuple(self.gateway.upstreams),
        )


@asynccontextmanager
async def open_generation(
    config: Config, checked: Preflight, parts: SharedParts, guard: SessionGuard | None
) -> AsyncIterator[Generation]:
    """A generation for the block; its pools are closed at the end. `guard` follows the calls of sessions.

    Nothing is connected to before the first request. Raises ConfigError.
    """
    opened = open_service_dispatcher(config, env=parts.env, local=parts.local, reactor=parts.reactor, observer=guard)
    async with opened as dispatcher:
        gateway = Gateway(
            config.gateway,
            apps=unavailable_apps(config),
            embedded_url=parts.services_url,
            reactor=parts.reactor,
        )
        try:
            yield Generation(
                config=config,
                checked=checked,
                dispatcher=dispatcher,
                gateway=gateway,
                guard=guard,
                listeners=_make_listeners(config, checked, dispatcher, gateway, parts),
            )
        finally:
            gateway.close()


def _make_listeners(
    config: Config, checked: Preflight, dispatcher: ServiceDispatcher, gateway: Gateway, parts: SharedParts
) -> tuple[ListenerApp, ListenerApp, ListenerApp]:
    """The applications of the main listener, of the one for chats alone, and of the one for Ollama's clients."""
    composed = (
        Route(ASK_PATH.encode(), Methods(POST=make_ask_app(dispatcher, gateway, config))),
        *workflow_routes(dispatcher, gateway, config),
        *parts.routes,
    )
    on_main = parts.find_view is None and is_on_main_listener(config, checked)  # else the paths are the embedder's own
    ollama = make_ollama_app(dispatcher, partial(gateway.calls.call, "embedd", "POST", "/embed"), config)
    paths, own = ollama_paths(ollama, root=False), ollama_paths(ollama, root=True)
    health, views = parts.health, parts.views
    main = main_mounts(
        dispatcher,
        gateway,
        health=health,
        console=parts.console,
        composed=composed,
        ollama=paths if on_main else (),
        config=config,
        views=views,
    )
    legacy = legacy_mounts(dispatcher, health=health, config=config, views=views)
    for_ollama = ollama_listener_mounts(dispatcher, gateway, health=health, ollama=own, config=config, views=views)
    wrap = partial(_wrap_router, config=config, checked=checked, parts=parts)
    return (
        wrap(Router(main, find_view=parts.find_view), parts.sign_in, has_ollama=on_main),
        wrap(Router(legacy)),
        wrap(Router(for_ollama), for_ollama=True, has_ollama=True),
    )


def _wrap_router(
    router: Router,
    sign_in: SignIn | None = None,
    *,
    config: Config,
    checked: Preflight,
    parts: SharedParts,
    for_ollama: bool = False,
    has_ollama: bool = False,
) -> ListenerApp:
    """The router inside of sessions, authentication and traces.

    `for_ollama`: on the listener for Ollama's clients, which send no token; `has_ollama`: with the paths of their form.
    """
    guarded = AuthMiddleware(
        SessionMiddleware(router, parts.registry),
        tokens=Tokens() if for_ollama else checked.tokens,
        allow=(for_ollama and config.ollama.allow) or config.auth.allow,
        principal=PRINCIPAL if for_ollama else None,
        trusted=config.gateway.trusted_proxies,
        origins=parts.origins,
        sign_in=sign_in,
        name_route=router.name_route,
    )
    telemetry = parts.telemetry
    return ListenerApp(
        router=router,
        app=keep_contents(trace_requests(guarded, telemetry.traces), wanted=telemetry.keeps_contents),
        render_error=ollama_error_response if has_ollama else error_response,
    )
