"""The routes of Ollama's form.

| path | method | answered by |
|---|---|---|
| `/api/chat`, `/api/generate` | POST | `ChatEndpoint(OllamaFormat)` |
| `/api/embed`, `/api/embeddings` | POST | the embedd service |
| `/api/tags`, `/api/ps`, `/api/version` | GET | `ModelViews` |
| `/api/show` | POST | `ModelViews` |
| `/` | GET | a sentence, where the console page is not |
| `/api/pull` and the others that manage models | POST, DELETE | 501 |
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from lakehouse.asgi.router import Methods, Route
from lakehouse.asgi.types import App
from lakehouse.chat.api.endpoint import ChatEndpoint
from lakehouse.chat.api.ollama import format as forms
from lakehouse.chat.api.ollama import paths
from lakehouse.chat.api.ollama.embeddings import EmbedTexts
from lakehouse.chat.api.ollama.endpoints import ModelViews, OllamaEndpoint, send_running
from lakehouse.chat.api.ollama.models import ModelDirectory
from lakehouse.chat.api.protocols import Dispatcher


class OllamaDispatcher(Dispatcher, ModelDirectory, Protocol):
    """What the routes need of the dispatcher."""


def ollama_routes(
    dispatcher: OllamaDispatcher,
    embed_texts: EmbedTexts,
    *,
    context_length: int,
    max_body: int,
    timeout: float,
    idle_timeout: float,
    keep_alive: float,
) -> tuple[Route, ...]:
    """The group. `context_length` is in tokens; the rest is as for `chat_routes`."""
    chat = partial(
        ChatEndpoint,
        dispatcher,
        max_body=max_body,
        timeout=timeout,
        idle_timeout=idle_timeout,
        keep_alive=keep_alive,
    )
    views = ModelViews(dispatcher, embed_texts, context_length=context_length)
    endpoint = partial(OllamaEndpoint, max_body=max_body, timeout=timeout)
    refuse = endpoint(views.refuse)
    apps: dict[str, App] = {
        paths.CHAT: Methods(POST=chat(forms.CHAT)),
        paths.GENERATE: Methods(POST=chat(forms.GENERATE)),
        paths.EMBED: Methods(POST=endpoint(views.embed)),
        paths.EMBEDDINGS: Methods(POST=endpoint(views.embeddings)),
        paths.TAGS: Methods(GET=endpoint(views.tags)),
        paths.SHOW: Methods(POST=endpoint(views.show)),
        paths.PS: Methods(GET=endpoint(views.ps)),
        paths.VERSION: Methods(GET=endpoint(views.version)),
        paths.ROOT: Methods(GET=send_running),
        **{path: Methods(POST=refuse, DELETE=refuse) for path in paths.MANAGEMENT},
    }
    return tuple(Route(path.encode(), app) for path, app in apps.items())
