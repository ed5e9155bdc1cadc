"""Composition: the mounts of both listeners. The only module with both route groups.

    CorsMiddleware ─ RequestLifetimeMiddleware ─ TracingMiddleware ─ AuthMiddleware ─ SessionMiddleware ─ Router

    Router ─┬─ chat     /v1/chat, /v1/models …
            ├─ ollama   /api/chat, /api/tags …
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

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from lakehouse.asgi.lazy import LazyApp
from lakehouse.asgi.middleware.auth import HEALTH_PATHS
from lakehouse.asgi.middleware.sessions import SESSIONS_PATH
from lakehouse.asgi.router import Methods, Mount, Route
from lakehouse.asgi.service_health import ServiceHealth
from lakehouse.asgi.types import App
from lakehouse.chat.api.ollama.paths import PATHS as OLLAMA_PATHS
from lakehouse.chat.api.protocols import Dispatcher
from lakehouse.chat.api.routes import LEGACY, VERSION, chat_paths, chat_routes
from lakehouse.config import ChatTable, Config
from lakehouse.gateway.gateway import Gateway
from lakehouse.runtime.ask import ASK_PATH
from lakehouse.runtime.console.endpoints import PATHS
from lakehouse.runtime.reload.endpoint import RELOAD_PATH
from lakehouse.runtime.workflows import MODES_PATH, RUN_PATH, has_workflows

Mounts = Sequence[Route | Mount]

Views = Mapping[str, App]
"""The application of the chat group's listings, by the prefix of their paths."""

EMBEDDINGS = (b"/v1/embeddings", b"/v1/rerank")
"""The routes of the gateway that Ollama's clients look for beside Ollama's own."""


def main_mounts(
    dispatcher: Dispatcher,
    gateway: Gateway,
    *,
    health: App,
    console: App,
    composed: Mounts,
    ollama: Mounts,
    config: Config,
    views: Views,
) -> Mounts:
    """Everything that the service serves, at the gateway's address.

    The chat group is the gateway's when it runs in another process (`gateway.chatd_url`). `views` answer its listings.
    `composed` are routes to requests that call models and services themselves, `ollama` those of Ollama's form.
    """
    chat = () if config.gateway.chatd_url else _chat_group(dispatcher, config.chatd, VERSION, views)
    return (
        *_health(health, "gateway"),
        *(Route(path.encode(), Methods(GET=console)) for path in PATHS),
        *chat,
        *composed,
        *ollama,
        *gateway.mounts,
    )


def legacy_mounts(dispatcher: Dispatcher, *, health: App, config: Config, views: Views) -> Mounts:
    """The chat group alone at `/chat`, at the address of the daemon that it replaced (`chatd.bind`)."""
    return (*_health(health, "chatd"), *_chat_group(dispatcher, config.chatd, LEGACY, views))


def ollama_listener_mounts(
    dispatcher: Dispatcher, gateway: Gateway, *, health: App, ollama: Mounts, config: Config, views: Views
) -> Mounts:
    """Ollama's form, the chat group and embeddings, at the address for Ollama's clients (`ollama.bind`)."""
    embeddings = [mount for mount in gateway.mounts if mount.prefix in EMBEDDINGS]
    return (*_health(health, "chatd"), *_chat_group(dispatcher, config.chatd, VERSION, views), *ollama, *embeddings)


def own_paths(config: Config) -> tuple[str, ...]:
    """The names of all routes that have no service of the gateway behind them."""
    chat = () if config.gateway.chatd_url else chat_paths(VERSION)
    workflows = (RUN_PATH, MODES_PATH) if has_workflows(config) else ()
    paths = (*chat_paths(LEGACY), ASK_PATH, *workflows, *OLLAMA_PATHS, *PATHS, SESSIONS_PATH, RELOAD_PATH)
    return (*chat, *paths, *(path.decode() for path in HEALTH_PATHS))


def _health(health: App, name: str) -> Mounts:
    named = ServiceHealth(name)
    return [Route(path, Methods(GET=named if path == b"/health" else health)) for path in HEALTH_PATHS]


def _chat_group(dispatcher: Dispatcher, limits: ChatTable, prefix: str, views: Views) -> Mounts:
    return chat_routes(
        dispatcher,
        views[prefix],
        prefix=prefix,
        max_body=limits.max_body,
        timeout=limits.timeout,
        idle_timeout=limits.idle_timeout,
    )


def make_views(get_dispatcher: Callable[[], Dispatcher], views: App | None = None) -> Views:
    """The listings, loaded with the first request for one of them. `get_dispatcher` is called in each request.

    `views` has those at the gateway's address already, if it is given.
    """
    loaded = {prefix: LazyApp(partial(load_views, get_dispatcher, prefix=prefix)) for prefix in (VERSION, LEGACY)}
    return {**loaded, VERSION: loaded[VERSION] if views is None else views}


def load_views(get_dispatcher: Callable[[], Dispatcher], *, prefix: str) -> App:
    """The listings of the chat group as a Quart-Trio application of their own."""
    from lakehouse.asgi.quart import QuartApp  # 12 MB and 0.1 s, for few requests
    from lakehouse.chat.api.listings import listings

    app = QuartApp("lakehouse")
    app.register_blueprint(listings(get_dispatcher, prefix=prefix))
    return cast("App", app)
