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
from contextlib import AsyncExitStack
from typing import cast
from urllib.parse import quote

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from hypercorn.typing import Scope as ASGIScope
from werkzeug.exceptions import HTTPException, NotFound

from lakehouse.asgi.lifespan import ShutdownMessages
from lakehouse.asgi.quart import QuartApp
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.chat.api.listings import listings
from lakehouse.chat.api.routes import VERSION
from lakehouse.chat.dispatch.dispatcher import ServiceDispatcher
from lakehouse.config import Config, ConfigError, load_config
from lakehouse.local_model import LocalModelError
from lakehouse.runtime.preflight import preflight
from lakehouse.runtime.reload.reloader import ReadConfig
from lakehouse.runtime.runtime import Runtime, open_runtime
from lakehouse.services.lake.errors import LakeError


def create_app(config: Config | None = None) -> LakehouseApp:
    """The application; without `config` the configuration is found as `lakehouse serve` finds it.

    Its resources are opened and closed by the server's lifespan. Raises ConfigError.
    """
    if config is not None:
        return LakehouseApp(config)
    loaded = load_config()
    return LakehouseApp(loaded.config, lambda: load_config(loaded.path).config)


class LakehouseApp(QuartApp):
    """The whole service, both route groups in front of the views of this application.

    A view that its owner adds has the service's request lifetime, authentication, log and metrics; it is found after
    the service's own paths.
    """

    def __init__(self, config: Config, read_config: ReadConfig | None = None) -> None:
        """`read_config` reads the configuration again, for a reload."""
        super().__init__("lakehouse", max_body=config.chatd.max_body)
        self._service_config = config
        self._read_config = read_config
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
        config, closing = self._service_config, ShutdownMessages(receive, send)
        async with AsyncExitStack() as stack:
            try:
                checked = preflight(config, os.environ)
                runtime = await stack.enter_async_context(
                    open_runtime(
                        config,
                        checked,
                        env=os.environ,
                        views=self.views,
                        find_view=self.find_view,
                        read_config=self._read_config,
                    )
                )
            except (ConfigError, LocalModelError, LakeError, OSError) as error:
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
