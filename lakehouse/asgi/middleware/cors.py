"""CORS (https://fetch.spec.whatwg.org/#http-cors-protocol): which web origins may call and read the responses.

Before a browser sends a request that a form could not send, it sends a preflight, which has no token;
`AuthMiddleware` answers it. Every other response, errors included, is marked with the origin that may read it.
Credentials that a browser adds by itself (cookies, client certificates) are never allowed: a page sends its token in
`Authorization`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import lru_cache

from lakehouse.asgi.server_control import FULL_RESPONSE
from lakehouse.asgi.types import DENIAL, App, Message, Receive, Scope, Send
from lakehouse.config import values
from lakehouse.net.http1.fields import TOKEN_BYTES

Headers = list[tuple[bytes, bytes]]

PREFLIGHT = "lakehouse.cors_preflight"
"""The key of the scope of an allowed preflight, which `AuthMiddleware` answers with an empty 204."""

MAX_AGE = 600
"""Seconds for which a browser may cache a preflight, although `origins` may change. Chromium's maximum is 7200."""

MAX_REQUESTED = 100
"""Header names that one preflight may request; as many as the head of a request may have."""

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
_FORBIDDEN_METHODS = frozenset({b"CONNECT", b"TRACE", b"TRACK"})
_DEFAULT_HEADERS = (
    b"authorization, content-type, accept, x-api-key, x-request-id, x-request-timeout-ms, idempotency-key, "
    b"openai-organization, openai-project, openai-beta, anthropic-version, anthropic-beta, "
    b"anthropic-dangerous-direct-browser-access, traceparent"
)
"""The headers that are allowed when a preflight names none, or something else than headers."""

_EXPOSED = (b"x-request-id", b"server-timing", b"retry-after", b"x-lakehouse-attempts")
_READABLE = frozenset(  # not to be exposed: readable in any case, then never readable, or useless to a page
    b"cache-control content-language content-length content-type expires last-modified pragma "
    b"set-cookie set-cookie2 connection transfer-encoding vary date".split()
)
_HEAD_MESSAGES = frozenset({"http.response.start", FULL_RESPONSE, f"{DENIAL}.start"})
_CORS_PREFIX = b"access-control-"


class Origins:
    """The web origins that may call, compared by scheme, host and port."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        """Raises ValueError for a text that is not an origin."""
        self.replace(origins)

    def replace(self, origins: Iterable[str]) -> None:
        """Let these origins call, and no others, from the next request on. Raises ValueError as above."""
        self._origins = frozenset(values.origin(origin) for origin in origins)
        self._look_up = lru_cache(maxsize=256)(self._is_listed)

    def __bool__(self) -> bool:
        return bool(self._origins)

    def find_allowed(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """The origin in the headers of a request, if it may call; None otherwise."""
        named = [value for name, value in headers if name == b"origin"]
        return named[0] if len(named) == 1 and self._look_up(named[0]) else None

    def make_cors_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The headers that make the response to a request with these headers readable for its page, if it may call."""
        return mark_headers((), self.find_allowed(headers)) if self._origins else []

    def _is_listed(self, origin: bytes) -> bool:
        try:
            return values.origin(origin.decode("ascii")) in self._origins
        except ValueError:
            return False


class CorsMiddleware:
    """ASGI middleware that marks every response for the origin of its request; outside of the lifetime middleware.

    An upstream's own CORS headers are removed: a browser rejects a response that has each of them twice. Without
    origins, responses pass through as they are.
    """

    def __init__(self, app: App, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if self._origins and scope["type"] in ("http", "websocket"):
            return self._mark(scope, receive, send)
        return self._app(scope, receive, send)

    async def _mark(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = self._origins.find_allowed(scope["headers"])
        granted = None if origin is None else grant_preflight(scope)
        if granted is not None:
            scope[PREFLIGHT] = True

        async def mark(message: Message) -> None:
            if message["type"] in _HEAD_MESSAGES:
                headers = mark_headers(message.get("headers", ()), origin)
                if granted is not None:
                    headers += granted
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, mark)


def mark_headers(headers: Iterable[tuple[bytes, bytes]], origin: bytes | None) -> Headers:
    """Mark the headers of a response as readable for the pages of `origin`, or of no other site if that is None."""
    kept = [pair for pair in headers if not pair[0].lower().startswith(_CORS_PREFIX)]
    if not _varies_by_origin(kept):
        kept.append((b"vary", b"Origin"))
    if origin is not None:
        others = (name.lower() for name, _ in kept)
        exposed = dict.fromkeys((*_EXPOSED, *(name for name in others if name not in _READABLE)))
        kept.append((b"access-control-allow-origin", origin))
        kept.append((b"access-control-expose-headers", b", ".join(exposed)))
    return kept


def _varies_by_origin(headers: Headers) -> bool:
    named = b",".join(value for name, value in headers if name.lower() == b"vary").lower()
    return not {b"*", b"origin"}.isdisjoint(part.strip() for part in named.split(b","))


def grant_preflight(scope: Scope) -> Headers | None:
    """The headers of the response to a preflight; None for any other request."""
    if scope.get("method") != "OPTIONS":
        return None
    headers = scope["headers"]
    method = _join_values(headers, b"access-control-request-method")
    if not method:
        return None
    granted = [
        (b"access-control-allow-methods", b", ".join(_grant_methods(method))),
        (b"access-control-allow-headers", _grant_headers(_join_values(headers, b"access-control-request-headers"))),
        (b"access-control-max-age", b"%d" % MAX_AGE),
        (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    # For a page of the Internet that calls a private address: https://wicg.github.io/private-network-access/
    if _join_values(headers, b"access-control-request-private-network").lower() == b"true":
        granted.append((b"access-control-allow-private-network", b"true"))
    return granted


def _join_values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    return b",".join(value for key, value in headers if key == name).strip()


def _grant_methods(method: bytes) -> tuple[bytes, ...]:
    if method in _METHODS or method.upper() in _FORBIDDEN_METHODS or method.translate(None, TOKEN_BYTES):
        return _METHODS
    return (*_METHODS, method)


def _grant_headers(requested: bytes) -> bytes:
    names = [name.strip().lower() for name in requested.split(b",")]
    if len(names) > MAX_REQUESTED or any(not name or name.translate(None, TOKEN_BYTES) for name in names):
        return _DEFAULT_HEADERS
    return b", ".join(dict.fromkeys(names))
