"""What an operator looks at, as ASGI: `GET /metrics`, `GET /v1/requests`, and the page at `/`.

All three stand behind the service's door. A browser cannot send a bearer token when it opens an address, so `SignIn`,
in front of the door, answers its 401 with a form instead of JSON: it holds nothing but the question for the token, and
fetches the page with it. Without a valid token no byte of the page or of what it shows leaves the service.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from re import DOTALL, findall
from typing import Any

import msgspec

from lakehouse.asgi import request_scope
from lakehouse.core.errors import ErrMethodNotAllowed
from lakehouse.telemetry.telemetry import Telemetry, Traces

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PATHS = ("/", "/metrics", "/v1/requests")
"""The paths that `ObservabilityEndpoints` answers."""

_HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response: what it is, and its bytes."""

    content_type: str
    body: bytes
    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()


class ObservabilityEndpoints:
    """The ASGI application of `PATHS`. Raises ErrMethodNotAllowed for anything but GET and HEAD."""

    def __init__(self, observer: Telemetry) -> None:
        self._observer = observer
        self._html = StaticPages()
        self._views: Mapping[str, Callable[[Scope], Awaitable[Response]]] = {
            "/": self._page,
            "/metrics": self._metrics,
            "/v1/requests": self._requests,
        }

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise ErrMethodNotAllowed(f"{scope['path']} is read with GET", allowed=("GET", "HEAD"))
        await respond(send, await self._views[scope["path"]](scope), head=scope["method"] == "HEAD")

    async def _page(self, _scope: Scope) -> Response:
        return self._html.page

    async def _metrics(self, scope: Scope) -> Response:
        text, content_type = await self._observer.exposition(_header(scope, b"accept"))
        return Response(content_type, text)

    async def _requests(self, _scope: Scope) -> Response:
        return Response("application/json", msgspec.json.encode(await self._observer.in_flight()))


class SignIn:
    """For the door: a browser that opens `/` without a token is asked for one."""

    def __init__(self) -> None:
        self._html = StaticPages()

    async def __call__(self, scope: Scope, send: Send) -> bool:
        """Answer such a request; false for any other, which is not answered."""
        if scope["type"] != "http" or scope["path"] != "/" or "text/html" not in _header(scope, b"accept"):
            return False
        await respond(send, self._html.sign_in, head=scope["method"] == "HEAD")
        return True


class Traced:
    """ASGI middleware, just inside the lifeline: each request's flight becomes part of a trace."""

    def __init__(self, app: App, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_scope.find(scope)
        if request is not None:
            came = [value for name, value in scope["headers"] if name == b"traceparent"]
            self._traces.begin(request.context, came[0] if len(came) == 1 else None)
        await self._app(scope, receive, send)


def traced(app: App, traces: Traces | None) -> App:
    """The application with its requests traced, if they are to be."""
    return app if traces is None else Traced(app, traces)


class StaticPages:
    """The two documents, read from the package when first asked for."""

    @cached_property
    def page(self) -> Response:
        """The page itself."""
        return Response(_HTML, self._page, headers=_csp_headers(self._page))

    @cached_property
    def sign_in(self) -> Response:
        """The form. It becomes the page once that is fetched, so it allows the page's scripts and styles as well."""
        form = _read("sign_in.html")
        headers = [*_csp_headers(form, self._page), (b"www-authenticate", b'Bearer realm="lakehouse"')]
        return Response(_HTML, form, status=401, headers=headers)

    @cached_property
    def _page(self) -> bytes:
        return _read("page.html")


async def respond(send: Send, response: Response, *, head: bool = False) -> None:
    """Send it, without its body when only the head was asked for."""
    headers = [
        (b"content-type", response.content_type.encode()),
        (b"content-length", b"%d" % len(response.body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else response.body, "more_body": False})


def _csp_headers(*documents: bytes) -> list[tuple[bytes, bytes]]:
    """Headers that let these documents run what is written in them, talk to us, and do nothing else."""
    scripts, styles = (
        b" ".join(
            b"'sha256-%b'" % b64encode(sha256(inline).digest())
            for document in documents
            for inline in findall(rb"<%b>(.*?)</%b>" % (element, element), document, DOTALL)
        )
        for element in (b"script", b"style")
    )
    policy = (
        b"default-src 'none'; script-src %b; style-src %b; connect-src 'self'; img-src data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ) % (scripts, styles)
    return [(b"content-security-policy", policy), (b"referrer-policy", b"no-referrer")]


def _read(name: str) -> bytes:
    return files("lakehouse.runtime.console").joinpath(name).read_bytes()


def _header(scope: Scope, name: bytes) -> str:
    values: list[str] = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values)
