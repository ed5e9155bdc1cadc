"""The service as a Quart-Trio application, for stock Hypercorn and for trio programs: `create_app`.

    hypercorn -k trio 'lakehouse:create_app()'

`LakehouseApp` is a `QuartTrio` whose requests go through the service's router first (`runtime.app`), which holds both
route groups. Frequent requests (chats, the gateway, health, metrics) are answered there by plain ASGI
endpoints; the listings of the chat group are views of this Quart-Trio application, and so are the views and blueprints
that its owner adds to it. `lakehouse serve` has the same router over the same tables, and loads a Quart-Trio
application with the first request for a listing: importing this module costs 12 MB and 0.1 to 0.3 s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import cast
from urllib.parse import quote

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from hypercorn.typing import Scope as ASGIScope
from quart.typing import ResponseReturnValue, ResponseTypes
from quart.utils import encode_headers
from quart.wrappers import Response
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from lakehouse.asgi.types import App, Message, Receive, Scope, Send
from lakehouse.chat.api.listings import listings
from lakehouse.chat.api.routes import VERSION
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.config import Config, ConfigError, load_config
from lakehouse.core.errors import ErrMethodNotAllowed, ErrNotFound
from lakehouse.local_model import LocalModelError
from lakehouse.runtime.preflight import preflight
from lakehouse.runtime.runtime import Runtime, open_runtime


def create_app(config: Config | None = None) -> LakehouseApp:
    """The application; without `config` the configuration is found as `lakehouse serve` finds it.

    Its resources are opened and closed by the server's lifespan. Raises ConfigError.
    """
    return LakehouseApp(load_config().config if config is None else config)


class QuartConnection(TrioASGIHTTPConnection):
    """One request to a view. A complete response is sent in two messages, where Quart sends an empty third one.

    `RequestLifetimeMiddleware` takes a response for complete if its first piece of the body is the last.
    """

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        if not isinstance(response, Response) or not isinstance(response.response, DataBody):
            await super()._send_response(send, response)
            return
        body = await response.get_data(as_text=False)
        start = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": encode_headers(response.headers),
        }
        await cast("Send", send)(start)
        await cast("Send", send)({"type": "http.response.body", "body": body, "more_body": False})


class QuartApp(QuartTrio):
    """A Quart-Trio application inside a request's lifetime.

    Quart's own time limits are off, for a request's deadline is kept around it: its `RESPONSE_TIMEOUT` would cut every
    stream after a minute without a word. What a view raises passes Quart, so that log, metrics and the form of an error
    are the same for every path.
    """

    asgi_http_class = QuartConnection

    def __init__(self, name: str, *, max_body: int | None = None) -> None:
        """`max_body` limits the body of a request to a view, in bytes."""
        super().__init__(name, static_folder=None, template_folder=None)
        self.url_map.merge_slashes = False  # it would redirect `//v1/models` to the host in the Host header
        self.config.update(
            RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, MAX_CONTENT_LENGTH=max_body, PROPAGATE_EXCEPTIONS=True
        )
        self.register_error_handler(HTTPException, _raise_ours)


async def _raise_ours(error: HTTPException) -> ResponseReturnValue:
    """404 and 405 of Quart in the service's form; any other response that a view has chosen stays."""
    if isinstance(error, NotFound):
        raise ErrNotFound("nothing is served at this path")
    if isinstance(error, MethodNotAllowed):
        raise ErrMethodNotAllowed("this path does not take this method", allowed=error.valid_methods or ())
    return cast("ResponseReturnValue", error)


class LakehouseApp(QuartApp):
    """The whole service, both route groups in front of the views of this application.

    A view that its owner adds has the service's request lifetime, authentication, log and metrics; it is found after
    the service's own paths.
    """

    def __init__(self, config: Config) -> None:
        super().__init__("lakehouse", max_body=config.chatd.max_body)
        self._service_config = config
        self._runtime: Runtime | None = None
        self.register_blueprint(listings(self._get_dispatcher, prefix=VERSION))

    @property
    def runtime(self) -> Runtime:
        """What is open while the application runs. Raises RuntimeError before the lifespan's startup and after it."""
        if self._runtime is None:
            raise RuntimeError("the server has not run the lifespan's startup, which opens what the application needs")
        return self._runtime

    async def asgi_app(self, scope: ASGIScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer a request by the service's router, or run the lifespan."""
        app = self._run_lifespan if scope["type"] == "lifespan" else self._route
        await app(cast("Scope", scope), cast("Receive", receive), cast("Send", send))

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.runtime.main_app(_without_root(scope), receive, send)

    async def views(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by this application's own views."""
        await super().asgi_app(
            cast("ASGIScope", scope), cast("ASGIReceiveCallable", receive), cast("ASGISendCallable", send)
        )

    def find_view(self, scope: Scope) -> App | None:
        """This application, if one of its rules has the path of the scope, whatever the method."""
        adapter = self.url_map.bind("localhost", url_scheme=scope["scheme"])
        try:
            adapter.match(scope["path"], method=scope.get("method", "GET"), websocket=scope["type"] == "websocket")
        except NotFound:
            return None
        except HTTPException:  # another method, or a redirect: Quart's to answer
            pass
        return self.views

    def _get_dispatcher(self) -> ServiceDispatcher:
        return self.runtime.dispatcher

    async def _run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Quart's own lifespan inside of the service's resources, which are closed before the server may exit."""
        config, closing = self._service_config, _ClosingMessages(receive, send)
        async with AsyncExitStack() as stack:
            try:
                checked = preflight(config, os.environ)
                runtime = await stack.enter_async_context(
                    open_runtime(config, checked, env=os.environ, views=self.views, find_view=self.find_view)
                )
            except (ConfigError, LocalModelError, OSError) as error:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            self._runtime = runtime
            closing.on_shutdown = runtime.stopping.set
            try:
                await self.views(scope, closing.receive, closing.send)
            finally:
                self._runtime = None
        await closing.send_last()


class _ClosingMessages:
    """The messages of a lifespan: `on_shutdown` is called when it ends, and its last message is kept back."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._last: Message | None = None
        self.on_shutdown: Callable[[], None] = _do_nothing

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            self.on_shutdown()
        return message

    async def send(self, message: Message) -> None:
        if message["type"].startswith("lifespan.shutdown."):
            self._last = message
        else:
            await self._send(message)

    async def send_last(self) -> None:
        """Send the message that was kept back, if there was one."""
        if self._last is not None:
            await self._send(self._last)


def _do_nothing() -> None:
    """Before the resources are open there is nothing to drain."""


def _without_root(scope: Scope) -> Scope:
    """The scope with the path below `root_path`, under which another application may have mounted this one.

    `raw_path`, by which the router decides, is optional in ASGI and is made from the decoded path where it is missing.
    """
    root: str = scope.get("root_path", "")
    raw = scope.get("raw_path")
    if raw is not None and not root:
        return scope
    path = scope["path"].removeprefix(root)
    raw = quote(path, safe="/:@!$&'()*+,;=~-._").encode() if raw is None else raw.removeprefix(quote(root).encode())
    return {**scope, "path": path, "raw_path": raw, "root_path": ""}
