"""Composition: which path belongs to whom. The only file that knows both route groups.

Lifeline ── Doorkeeper ── Application ─┬─ gateway   /v1/storage … /v1/observer
                                       ├─ chat      /v1/chat, /v1/chat/completions, /v1/models
                                       └─ our own   /healthz, /readyz, /metrics, /v1/requests, /
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from quart import request
from quart_trio.wrappers import TrioResponse
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from lakehouse.chat.api import answers, surroundings
from lakehouse.chat.api.application import ChatApplication
from lakehouse.chat.api.native import NativeChat, native
from lakehouse.chat.api.openai import OpenAIChat, openai
from lakehouse.chat.api.openai_errors import envelope, headers_of, status_of
from lakehouse.chat.api.posts import Post
from lakehouse.chat.dispatcher import Dispatcher
from lakehouse.edge.asgi import App
from lakehouse.edge.line import plainly
from lakehouse.errors import ErrMethodNotAllowed, ErrNotFound, LakehouseError
from lakehouse.gateway.proxy import Gateway
from lakehouse.observe.inflight import Flight

CHAT_PATHS = ("/v1/chat", "/v1/chat/providers", "/v1/chat/completions", "/v1/models")
OLD_CHAT_PATHS = ("/chat", "/chat/providers", "/chat/completions", "/models")
"""On the second listener, which serves the chat group alone, as the daemon of old did."""

OPENAI_PATHS = (*CHAT_PATHS[2:], *OLD_CHAT_PATHS[2:])
"""Where OpenAI's clients ask, and get their failures in OpenAI's envelope."""


class Application(ChatApplication):
    """One Quart-Trio application with its two route groups side by side.

    `gateway` is None on a listener that serves the chat group alone, `chat` when that runs elsewhere; `own` are the
    service's own paths and the plain ASGI application of each.
    """

    def __init__(
        self,
        *,
        gateway: Gateway | None,
        chat: Dispatcher | None,
        own: Mapping[bytes, App],
        max_body: int,
        prefix: str = "/v1",
    ) -> None:
        super().__init__()
        chat_paths = (CHAT_PATHS if prefix else OLD_CHAT_PATHS) if chat else ()
        self.paths = frozenset((*chat_paths, *(path.decode() for path in own)))
        self._gateway = gateway
        self._own = own
        self._posts: dict[bytes, App] = {}
        if chat is not None:
            self.register_blueprint(native(chat, max_body=max_body, prefix=f"{prefix}/chat"))
            self.register_blueprint(openai(chat, max_body=max_body, prefix=prefix))
            self._posts[f"{prefix}/chat".encode()] = Post(NativeChat(chat), max_body=max_body)
            self._posts[f"{prefix}/chat/completions".encode()] = Post(OpenAIChat(chat), max_body=max_body)
        self.register_error_handler(HTTPException, _refuse)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - as Quart's own
        """One request of any group, told apart by its path before Quart sees it.

        A gateway's body must not pass through Quart's buffers, which have no back-pressure and count what is unread; a
        chat under a lifeline needs nothing of what Quart does for each request.
        """
        kind = scope["type"]
        if kind == "lifespan":
            await super().__call__(scope, receive, send)
            return
        path: bytes = scope["raw_path"]
        app = None
        if kind == "http" and (flight := scope.get("lakehouse")) is not None:
            if scope["path"] in self.paths:
                flight.route = scope["path"]
            if scope["method"] == "POST":
                app = self._posts.get(path)
        if app is None:
            if self._gateway is not None and (route := self._gateway.find(path)) is not None:
                await self._gateway.answer(route, scope, receive, send)
                return
            if kind == "websocket":
                raise ErrNotFound("no WebSocket is served at this path")
            app = self._own.get(path) or cast("App", super().__call__)
        await app(scope, receive, send)


def refusal(flight: Flight, failure: LakehouseError) -> tuple[int, object, list[tuple[str, str]]]:
    """How a failure is told that meets a request outside of its route: at the door, at its deadline, while draining.

    OpenAI's clients find OpenAI's envelope around it.
    """
    if flight.path.startswith(OPENAI_PATHS):
        return status_of(failure), envelope(failure, flight.id), headers_of(failure)
    return plainly(flight, failure)


async def _refuse(error: HTTPException) -> TrioResponse:
    """What Quart itself refuses, in our words."""
    failure: LakehouseError = ErrNotFound("nothing is served at this path")
    if isinstance(error, MethodNotAllowed):
        failure = ErrMethodNotAllowed("this path does not take this method", allowed=error.valid_methods or ())
    flight = surroundings.flight(request)
    if request.path.startswith(OPENAI_PATHS):
        document = envelope(failure, surroundings.request_id(flight))
        return answers.refusal(failure, document, status_of(failure), headers_of(failure)).response()
    return answers.refusal(failure, failure.document(surroundings.request_id(flight))).response()
