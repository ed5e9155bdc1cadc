"""`POST /v1/reload` as ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from lakehouse.asgi.responses import Response
from lakehouse.asgi.router import Methods, Route
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import ConfigError
from lakehouse.core.errors import ErrUnprocessable
from lakehouse.runtime.console.pages import NO_STORE
from lakehouse.runtime.reload.reloader import ReloadReport

RELOAD_PATH = "/v1/reload"


def reload_route(reload: Callable[[], Awaitable[ReloadReport]]) -> Route:
    """The route, whose body is ignored."""
    return Route(RELOAD_PATH.encode(), Methods(POST=_make_endpoint(reload)))


def _make_endpoint(reload: Callable[[], Awaitable[ReloadReport]]) -> App:
    async def endpoint(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            report = await reload()
        except ConfigError as error:
            message = f"the configuration was not reloaded, and nothing has changed: {'; '.join(error.problems)}"
            raise ErrUnprocessable(message, details={"problems": list(error.problems)}) from None
        await Response(msgspec.json.encode(report), headers=NO_STORE).send_to(send)

    return endpoint
