"""Ollama's form of the service: on the main listener if that needs no token, or on a listener of its own.

Ollama's clients send no token. On a listener that can be reached from other machines the form is served only where the
configuration asks for it (`[ollama] bind`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lakehouse.asgi.lazy import LazyApp
from lakehouse.asgi.responses import Response
from lakehouse.asgi.router import Route, Router
from lakehouse.asgi.types import App
from lakehouse.chat.api.ollama.paths import PATHS, ROOT
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.config import Config
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import LakehouseError
from lakehouse.runtime.preflight import Preflight
from lakehouse.services.host.errors import error_response

if TYPE_CHECKING:
    from lakehouse.chat.api.ollama.embeddings import EmbedTexts

PRINCIPAL = "ollama"
"""Whose requests those on the listener of `[ollama] bind` are, in the log."""


def is_on_main_listener(config: Config, checked: Preflight) -> bool:
    """Whether the main listener has the form: a loopback address, and no token."""
    return config.gateway.bind.is_loopback and not checked.tokens and not config.gateway.chatd_url


def make_ollama_app(dispatcher: ServiceDispatcher, embed_texts: EmbedTexts, config: Config) -> App:
    """The application for all paths of the form, which is imported with the first request for one of them."""
    return LazyApp(partial(_load_ollama, dispatcher, embed_texts, config))


def ollama_paths(app: App, *, root: bool) -> tuple[Route, ...]:
    """The routes of the form; with `root`, `/` too, which is the console page on the main listener."""
    return tuple(Route(path.encode(), app) for path in ((ROOT, *PATHS) if root else PATHS))


def ollama_error_response(context: RequestContext, failure: LakehouseError) -> Response:
    """The response to a request that fails outside of its endpoint, in Ollama's form on the paths of that form."""
    if context.path not in PATHS:
        return error_response(context, failure)
    from lakehouse.chat.api.ollama.errors import render_outer_error  # with the first failure only

    return render_outer_error(failure)


def _load_ollama(dispatcher: ServiceDispatcher, embed_texts: EmbedTexts, config: Config) -> App:
    from lakehouse.asgi.sse import KEEP_ALIVE
    from lakehouse.chat.api.ollama.routes import ollama_routes

    limits = config.chatd
    routes = ollama_routes(
        dispatcher,
        embed_texts,
        context_length=config.ollama.context_length,
        max_body=limits.max_body,
        timeout=limits.timeout,
        idle_timeout=limits.idle_timeout,
        keep_alive=KEEP_ALIVE,
    )
    return Router(routes)
