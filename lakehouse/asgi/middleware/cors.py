"""CORS (https://fetch.spec.whatwg.org/#http-cors-protocol): the pages of which origins may call, and read the answers.

A page asks with a preflight before it sends what a form could not send; the preflight has no token and is answered by
the door. Every other answer, errors included, is marked with the origin that may read it. Credentials that a browser
adds by itself (cookies, client certificates) are never allowed: a page sends its token in `Authorization`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from lakehouse.asgi.server_control import FULL_RESPONSE
from lakehouse.asgi.types import DENIAL, App, Message, Receive, Scope, Send
from lakehouse.config import values
from lakehouse.net.http1.fields import TOKEN_BYTES

Headers = list[tuple[bytes, bytes]]

PREFLIGHT = "lakehouse.cors_preflight"
"""The key of a scope that is the preflight of an origin that may call: the door answers it with an empty 204."""

MAX_AGE = 600
"""Seconds that a browser may go without asking again, in which `origins` may change. Chromium takes 7200 at most."""

MAX_REQUESTED = 100
"""Header names of one preflight that are allowed; as many as a request's head may have."""

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
_NO_METHODS = frozenset({b"CONNECT", b"TRACE", b"TRACK"})
_ALLOWED = (
    b"authorization, content-type, accept, x-api-key, x-request-id, x-request-timeout-ms, idempotency-key, "
    b"openai-organization, openai-project, openai-beta, anthropic-version, anthropic-beta, "
    b"anthropic-dangerous-direct-browser-access, traceparent"
)
"""What is allowed when a preflight names nothing, or names what is no header."""

_EXPOSED = (b"x-request-id", b"server-timing", b"retry-after", b"x-lakehouse-attempts")
_READABLE = frozenset(
    b"cache-control content-language content-length content-type expires last-modified pragma "  # always readable
    b"set-cookie set-cookie2 connection transfer-encoding vary date".split()  # never readable, or of no use
)
_STARTS = frozenset({"http.response.start", FULL_RESPONSE, f"{DENIAL}.start"})
_OURS = b"access-control-"


class Origins:
    """The web origins whose pages may call, compared by scheme, host and port."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        """Raises ValueError for what is no origin."""
        self._origins = frozenset(values.origin(origin) for origin in origins)
        self._look_up = lru_cache(maxsize=256)(self._is_listed)

    def __bool__(self) -> bool:
        return bool(self._origins)

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """The origin of the page that sent these headers, if its pages may call; None otherwise."""
        named = [value for name, value in headers if name == b"origin"]
        return named[0] if len(named) == 1 and self._look_up(named[0]) else None

    def mark(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The headers that make an answer to a request with these headers readable for its page, if it may call."""
        return marked((), self.caller(headers))

    def _is_listed(self, origin: bytes) -> bool:
        try:
            return values.origin(origin.decode("ascii")) in self._origins
        except ValueError:
            return False


class CrossOrigin:
    """ASGI middleware around a lifeline: marks every answer, the lifeline's own included, for the caller's origin.

    What an upstream says about CORS is taken out: with ours beside it a browser would accept neither.
    """

    def __init__(self, app: App, origins: Origins) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        origin = self._origins.caller(scope["headers"])
        grant = None if origin is None else preflight(scope)
        if grant is not None:
            scope[PREFLIGHT] = True

        async def mark(message: Message) -> None:
            if message["type"] in _STARTS:
                headers = marked(message.get("headers", ()), origin)
                if grant is not None:
                    headers += grant
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, mark)


def marked(headers: Iterable[tuple[bytes, bytes]], origin: bytes | None) -> Headers:
    """The headers of an answer, readable for the pages of `origin`, or for no page of another site if that is None."""
    kept = [pair for pair in headers if not pair[0].lower().startswith(_OURS)]
    if not _varies(kept):
        kept.append((b"vary", b"Origin"))
    if origin is not None:
        others = (name.lower() for name, _ in kept)
        exposed = dict.fromkeys((*_EXPOSED, *(name for name in others if name not in _READABLE)))
        kept.append((b"access-control-allow-origin", origin))
        kept.append((b"access-control-expose-headers", b", ".join(exposed)))
    return kept


def _varies(headers: Headers) -> bool:
    named = b",".join(value for name, value in headers if name.lower() == b"vary").lower()
    return not {b"*", b"origin"}.isdisjoint(part.strip() for part in named.split(b","))


def preflight(scope: Scope) -> Headers | None:
    """What a preflight is granted; None for any other request."""
    if scope.get("method") != "OPTIONS":
        return None
    headers = scope["headers"]
    method = _joined(headers, b"access-control-request-method")
    if not method:
        return None
    granted = [
        (b"access-control-allow-methods", b", ".join(_methods(method))),
        (b"access-control-allow-headers", _allowed(_joined(headers, b"access-control-request-headers"))),
        (b"access-control-max-age", b"%d" % MAX_AGE),
        (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    # A page of the Internet that calls a private address: https://wicg.github.io/private-network-access/
    if _joined(headers, b"access-control-request-private-network").lower() == b"true":
        granted.append((b"access-control-allow-private-network", b"true"))
    return granted


def _joined(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    return b",".join(value for key, value in headers if key == name).strip()


def _methods(method: bytes) -> tuple[bytes, ...]:
    if method in _METHODS or method.upper() in _NO_METHODS or method.translate(None, TOKEN_BYTES):
        return _METHODS
    return (*_METHODS, method)


def _allowed(requested: bytes) -> bytes:
    names = [name.strip().lower() for name in requested.split(b",")]
    if len(names) > MAX_REQUESTED or any(not name or name.translate(None, TOKEN_BYTES) for name in names):
        return _ALLOWED
    return b", ".join(dict.fromkeys(names))
