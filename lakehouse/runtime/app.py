"""Composition: which path belongs to whom. The only file that knows both route groups.

RequestLifetimeMiddleware ── AuthMiddleware ── Application ─┬─ gateway   /v1/storage … /v1/observer
                                       ├─ chat      /v1/chat, /v1/chat/completions, /v1/models
                                       └─ our own   /healthz, /readyz, /metrics, /v1/requests, /
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import cast

import trio

from lakehouse.asgi import request_scope
from lakehouse.asgi.middleware.request_lifecycle import native_error_response
from lakehouse.asgi.responses import Response, json_response
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.chat.api.endpoint import ChatEndpoint
from lakehouse.chat.api.native import NativeChat
from lakehouse.chat.api.openai.errors import OPENAI_PATHS, envelope, headers_of, status_of
from lakehouse.chat.api.openai.format import OpenAIChat
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrNotFound, LakehouseError
from lakehouse.gateway.proxy import Gateway

CHAT_PATHS = ("/v1/chat", "/v1/chat/providers", "/v1/chat/completions", "/v1/models")
LEGACY_CHAT_PATHS = ("/chat", "/chat/providers", "/chat/completions", "/models")
"""On the second listener, which serves the chat group alone, as the daemon of old did."""


class Application:
    """Both route groups side by side, under a lifeline.

    `gateway` is None on a listener that serves the chat group alone, `chat` when that runs elsewhere; `own` are the
    service's own paths and the plain ASGI application of each.

    What is asked all the time is told apart here by its path and answered as plain ASGI: a gateway's body must not pass
    through Quart's buffers, which have no back-pressure and count what is unread. The rest is Quart's, which is loaded
    when the first such request is there: the listings, and what has a path or a method that nobody serves.
    """

    def __init__(
        self,
        *,
        gateway: Gateway | None,
        chat: ServiceDispatcher | None,
        own: Mapping[bytes, App],
        max_body: int,
        timeout: float,
        idle_timeout: float,
        prefix: str = "/v1",
    ) -> None:
        chat_paths = (CHAT_PATHS if prefix else LEGACY_CHAT_PATHS) if chat else ()
        self._paths = frozenset((*chat_paths, *(path.decode() for path in own)))
        self._gateway = gateway
        self._chat = chat
        self._own = own
        self._max_body = max_body
        self._timeout = timeout
        self._prefix = prefix
        self._posts: dict[bytes, App] = {}
        self._quart: App | None = None
        if chat is not None:
            post = partial(ChatEndpoint, max_body=max_body, timeout=timeout, idle_timeout=idle_timeout)
            self._posts[f"{prefix}/chat".encode()] = post(NativeChat(chat))
            self._posts[f"{prefix}/chat/completions".encode()] = post(OpenAIChat(chat))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: bytes = scope["raw_path"]
        app = None
        if scope["type"] == "http":
            if scope["path"] in self._paths:
                request_scope.get(scope).context.assign_route(scope["path"])
            if scope["method"] == "POST":
                app = self._posts.get(path)
        if app is None:
            if self._gateway is not None and (route := self._gateway.find(path)) is not None:
                await self._gateway.answer(route, scope, receive, send)
                return
            if scope["type"] == "websocket":
                raise ErrNotFound("no WebSocket is served at this path")
            app = self._own.get(path) or self._quart
        if app is None:  # in a thread, beside which everybody else's requests go on
            app = self._quart = await trio.to_thread.run_sync(self._on_quart, abandon_on_cancel=True)
        await app(scope, receive, send)

    def _on_quart(self) -> App:
        from lakehouse.chat.api.routes import routes  # 12 MB and 0.1 s, for what few requests ask

        return cast("App", routes(self._chat, max_body=self._max_body, timeout=self._timeout, prefix=self._prefix))


def error_response(context: RequestContext, failure: LakehouseError) -> Response:
    """How a failure is told that meets a request outside of its route: at the door, at its deadline, while draining.

    OpenAI's clients find OpenAI's envelope around it.
    """
    if context.path.startswith(OPENAI_PATHS):
        return json_response(envelope(failure, context.id), status_of(failure), headers_of(failure))
    return native_error_response(context, failure)
