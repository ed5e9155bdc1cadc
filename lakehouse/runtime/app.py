"""Composition: the mounts of both listeners. The only module with both route groups.

    CorsMiddleware ─ RequestLifetimeMiddleware ─ TracingMiddleware ─ AuthMiddleware ─ Router

    Router ─┬─ chat     /v1/chat, /v1/models …
            ├─ composed /v1/ask, /v1/observer/workflow/…
            ├─ gateway  /v1/storage … /v1/observer
            └─ own      /healthz, /metrics, / …

| path | answered by | because |
|---|---|---|
| POST `/v1/chat`, `/v1/chat/completions`, `/v1/ask` | plain ASGI | Quart is a fifth of the cost of a chat |
| `/v1/storage/…`, every mount of the gateway | plain ASGI | Quart's buffers have no back-pressure |
| `/healthz`, `/readyz`, `/health`, `/metrics`, `/v1/requests`, `/` | plain ASGI | polled every few seconds |
| GET `/v1/models`, `/v1/models/…`, `/v1/chat/providers` | views of Quart-Trio | few requests |
| any other | views that were added to `create_app()`, else 404 | |

The router decides all of them, and 404, 405 and OPTIONS, before Quart is involved. Under `lakehouse serve` the views
are loaded with the first request for one of them, because Quart and what it brings are 12 MB and 0.1 to 0.3 s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from lakehouse.asgi.lazy import LazyApp
from lakehouse.asgi.middleware.auth import HEALTH_PATHS
from lakehouse.asgi.router import Methods, Mount, Route
from lakehouse.asgi.service_health import ServiceHealth
from lakehouse.asgi.types import App
from lakehouse.chat.api.protocols import Dispatcher
from lakehouse.chat.api.routes import LEGACY, VERSION, chat_paths, chat_routes
from lakehouse.config import ChatTable, Config
from lakehouse.gateway.gateway import Gateway
from lakehouse.runtime.ask import ASK_PATH
from lakehouse.runtime.console.endpoints import PATHS
from lakehouse.runtime.workflows import MODES_PATH, RUN_PATH, has_workflows

Mounts = Sequence[Route | Mount]


def main_mounts(
    dispatcher: Dispatcher,
    gateway: Gateway,
    *,
    health: App,
    console: App,
    composed: Sequence[Route],
    config: Config,
    views: App | None = None,
) -> Mounts:
    """Everything that the service serves, at the gateway's address.

    The chat group is the gateway's when it runs in another process (`gateway.chatd_url`). `views` answers the chat
    group's listings; they are loaded when needed if it is None. `composed` are routes to requests that call models and
    services themselves.
    """
    chat = () if config.gateway.chatd_url else _chat_group(dispatcher, config.chatd, VERSION, views)
    return (
        *_health(health, "gateway"),
        *(Route(path.encode(), Methods(GET=console)) for path in PATHS),
        *chat,
        *composed,
        *gateway.mounts,
    )


def legacy_mounts(dispatcher: Dispatcher, *, health: App, config: Config) -> Mounts:
    """The chat group alone at `/chat`, at the address of the daemon that it replaced (`chatd.bind`)."""
    return (*_health(health, "chatd"), *_chat_group(dispatcher, config.chatd, LEGACY, None))


def own_paths(config: Config) -> tuple[str, ...]:
    """The names of all routes that have no service of the gateway behind them."""
    chat = () if config.gateway.chatd_url else chat_paths(VERSION)
    workflows = (RUN_PATH, MODES_PATH) if has_workflows(config) else ()
    return (*chat, *chat_paths(LEGACY), ASK_PATH, *workflows, *PATHS, *(path.decode() for path in HEALTH_PATHS))


def _health(health: App, name: str) -> Mounts:
    named = ServiceHealth(name)
    return [Route(path, Methods(GET=named if path == b"/health" else health)) for path in HEALTH_PATHS]


def _chat_group(dispatcher: Dispatcher, limits: ChatTable, prefix: str, views: App | None) -> Mounts:
    return chat_routes(
        dispatcher,
        views or LazyApp(partial(load_views, lambda: dispatcher, prefix=prefix)),
        prefix=prefix,
        max_body=limits.max_body,
        timeout=limits.timeout,
        idle_timeout=limits.idle_timeout,
    )


def load_views(get_dispatcher: Callable[[], Dispatcher], *, prefix: str) -> App:
    """The listings of the chat group as a Quart-Trio application of their own."""
    from lakehouse.asgi.quart import QuartApp  # 12 MB and 0.1 s, for few requests
    from lakehouse.chat.api.listings import listings

    app = QuartApp("lakehouse")
    app.register_blueprint(listings(get_dispatcher, prefix=prefix))
    return cast("App", app)
