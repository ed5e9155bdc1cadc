"""The router: the table of paths with the ASGI application of each, and the rules for all of them.

    Route   one exact path: one dictionary look-up
    Mount   a prefix and everything below it: one dictionary look-up for each parent of prefixes (`/v1/` has them all)
    views   of a web framework around the service: the last resort, by `find_view`

404, 405, OPTIONS and HEAD are decided here for every path but those of added views: the web framework knows the methods
of a view, and its 404 and 405 become the errors made here (`asgi.quart`). `Methods` limits a route to methods: it
answers OPTIONS with the `Allow` header, any other method with 405, and HEAD as GET, whose body the server leaves out. A
mount without `Methods` takes every method and WebSockets: its application decides about both.

A path is routed by its canonical form, in which percent-encoded unreserved characters are decoded (RFC 3986, 6.2.2.2):
`/v1/ch%61t` is `/v1/chat`. Nothing else of a path is decoded, joined or shortened. The scope is passed on untouched, so
an application that relays the path relays it as it came.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from lakehouse.asgi import request_scope
from lakehouse.asgi.responses import empty_response
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.core.errors import ErrBadRequest, ErrMethodNotAllowed, ErrNotFound

_UNRESERVED = re.compile(rb"%(2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])", re.IGNORECASE)
"""A percent-encoded letter, digit, `-`, `.`, `_` or `~`."""


def canonical_path(path: bytes) -> bytes:
    """The path with its percent-encoded unreserved characters decoded."""
    if b"%" not in path:
        return path
    return _UNRESERVED.sub(lambda encoded: bytes.fromhex(encoded[1].decode()), path)


@dataclass(frozen=True, slots=True)
class Route:
    """One exact path and the application that answers it. `path` is canonical."""

    path: bytes
    app: App
    name: str = field(init=False)
    """The path as text, for logs and metrics."""

    def __post_init__(self) -> None:
        """Decode the name once, not in every request."""
        object.__setattr__(self, "name", self.path.decode())


@dataclass(frozen=True, slots=True)
class Mount:
    """A prefix and the application that answers every path below it; with `exact` also the prefix itself.

    `prefix` is canonical and has no slash at its end. `/v1/sql` and `/v1/sqlite/x` are not below `/v1/sql`.
    """

    prefix: bytes
    app: App
    exact: bool = False
    name: str = field(init=False)
    """The prefix as text, for logs and metrics."""

    def __post_init__(self) -> None:
        """Decode the name once, not in every request."""
        object.__setattr__(self, "name", self.prefix.decode())


class Methods:
    """An ASGI application with another one for each method: `Methods(GET=listing, POST=creation)`.

    Raises ErrMethodNotAllowed for any other method, and ErrNotFound for a WebSocket, when it is called. What it returns
    is the other application's awaitable: a coroutine around it would run at each wait of the request.
    """

    def __init__(self, **apps: App) -> None:
        self._apps: dict[str, App] = dict(apps)
        if "GET" in apps:
            self._apps.setdefault("HEAD", apps["GET"])
        self._apps.setdefault("OPTIONS", self._send_options)
        self.allowed = tuple(sorted(self._apps))

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "websocket":
            raise make_not_found("websocket")
        app = self._apps.get(scope["method"])
        if app is None:
            raise make_method_not_allowed(self.allowed)
        return app(scope, receive, send)

    async def _send_options(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await empty_response(204, [(b"allow", ", ".join(self.allowed).encode())]).send_to(send)


def make_not_found(scope_type: str = "http") -> ErrNotFound:
    """The error (404) of a path at which nothing is served for this type of scope."""
    kind = "no WebSocket" if scope_type == "websocket" else "nothing"
    return ErrNotFound(f"{kind} is served at this path")


def make_method_not_allowed(allowed: Iterable[str]) -> ErrMethodNotAllowed:
    """The error (405) of a path that takes other methods, which are `allowed`."""
    methods = sorted(allowed)
    takes = ", ".join(methods)
    return ErrMethodNotAllowed(f"this path does not take this method: it takes {takes}", allowed=methods)


FindView = Callable[[Scope], App | None]
"""Finds the application of a path that is in no table; None when there is none."""


class Router:
    """The ASGI application made of routes and mounts. Records the name of the one that it found in the context.

    Raises ErrNotFound for a path that is in no table and for which `find_view` has no application, and ErrBadRequest
    for a request target that is no path, when it is called. Returns the awaitable of the application, as `Methods`.
    """

    def __init__(self, routes: Iterable[Route | Mount], *, find_view: FindView | None = None) -> None:
        """Raises ValueError for a path or prefix that is given twice."""
        self.routes = tuple(routes)
        self._exact: dict[bytes, Route | Mount] = {}
        parents: dict[bytes, dict[bytes, Mount]] = {}
        for route in self.routes:
            if isinstance(route, Mount):
                parent = route.prefix[: route.prefix.rindex(b"/") + 1]
                _add(parents.setdefault(parent, {}), route.prefix, route)
            if isinstance(route, Route) or route.exact:
                _add(self._exact, route.path if isinstance(route, Route) else route.prefix, route)
        self._mounts = sorted(parents.items(), key=lambda item: -len(item[0]))  # the deepest first
        self._find_view = find_view

    def find(self, path: bytes) -> Route | Mount | None:
        """The route of a raw path without its query, None for a path in no table."""
        if b"%" in path:
            path = canonical_path(path)
        if (route := self._exact.get(path)) is not None:
            return route
        for parent, mounts in self._mounts:
            if path.startswith(parent):
                end = path.find(b"/", len(parent))
                if end > 0 and (mount := mounts.get(path[:end])) is not None:
                    return mount
        return None

    def name_route(self, scope: Scope) -> None:
        """Record the name of the route of a request that does not get here, because it is refused before."""
        route, request = self.find(scope["raw_path"]), request_scope.find(scope)
        if route is not None and request is not None and not request.context.route:
            request.context.assign_route(route.name)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path: bytes = scope["raw_path"]
        route = self.find(path)
        if route is not None and b"#" not in path:
            request_scope.get(scope).context.assign_route(route.name)
            return route.app(scope, receive, send)
        if not path.startswith(b"/") or b"#" in path:
            raise ErrBadRequest(
                "the request's target must be a path, such as /v1/sql, or a URL of this service: it is no forward proxy"
            )
        view = None if self._find_view is None else self._find_view(scope)
        if view is None:
            raise make_not_found(scope["type"])
        return view(scope, receive, send)


def _add(table: dict[bytes, Route | Mount] | dict[bytes, Mount], path: bytes, route: Mount | Route) -> None:
    if path in table:
        raise ValueError(f"{path.decode()} is routed twice")
    table[path] = route  # type: ignore[assignment]
