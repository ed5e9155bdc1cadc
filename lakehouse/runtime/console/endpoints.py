"""The console as ASGI: `GET /metrics`, `GET /v1/requests`, the page at `/`, and the sign-in form.

All paths are behind the service's authentication. A browser cannot send a bearer token when it opens an address, so the
body of its 401 is a form instead of JSON (`SignInPage`): the form takes the token, and fetches the page with it.
Without a valid token the service sends no byte of the page or of its data.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from lakehouse.asgi.responses import Response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.runtime.console.pages import NO_STORE, StaticPages
from lakehouse.telemetry.telemetry import Telemetry

PATHS = ("/", "/metrics", "/v1/requests")
"""The paths that `ObservabilityEndpoints` answers."""


class ObservabilityEndpoints:
    """The ASGI application for GET on `PATHS`."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._pages = StaticPages()
        self._views: Mapping[str, Callable[[Scope], Awaitable[Response]]] = {
            "/": self._page,
            "/metrics": self._metrics,
            "/v1/requests": self._requests,
        }

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        response = await self._views[scope["path"]](scope)
        await response.send_to(send)

    async def _page(self, _scope: Scope) -> Response:
        return self._pages.page

    async def _metrics(self, scope: Scope) -> Response:
        text, content_type = await self._telemetry.render_metrics(_accept(scope))
        return Response(text, headers=NO_STORE, content_type=content_type.encode())

    async def _requests(self, _scope: Scope) -> Response:
        return Response(msgspec.json.encode(await self._telemetry.list_requests()), headers=NO_STORE)


class SignInPage:
    """For `AuthMiddleware`: sends the sign-in form to a browser that opens `/` without a token."""

    def __init__(self) -> None:
        self._pages = StaticPages()

    async def __call__(self, scope: Scope, send: Send) -> bool:
        """Answer such a request; false for any other request, which is left unanswered."""
        if scope["type"] != "http" or scope["path"] != "/" or "text/html" not in _accept(scope):
            return False
        await self._pages.sign_in.send_to(send)
        return True


def _accept(scope: Scope) -> str:
    return ", ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")
