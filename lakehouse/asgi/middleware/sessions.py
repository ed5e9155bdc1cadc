"""Requests that name a session become calls of it: by a header here, by a field of their body in their endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from lakehouse.asgi.request_scope import HEADERS_KEY, REQUEST_KEY
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.core.session_identity import (
    CLAUDE_CODE,
    CODEX,
    OUR_AGENT,
    OURS,
    PARENT,
    SessionIdentity,
    read_session_headers,
)
from lakehouse.sessions.registry import SessionRegistry
from lakehouse.sessions.session import StoppableRequest

SESSIONS_PATH = "/v1/sessions"
"""The routes of sessions themselves. A request there is no call of a session: it would end itself with it."""

MAX_KNOWN = 1_000
"""Names of sessions whose identities are kept, because a run sends the same one with each of its requests."""

_REGISTRY_KEY = "lakehouse.sessions"

Headers = Mapping[bytes, bytes]


class SessionMiddleware:
    """ASGI middleware inside of authentication: joins requests to the sessions that their headers name.

    Raises ErrSessionStopped for a session that was stopped, and ErrBadRequest for a name that is not acceptable. The
    request leaves its session when its lifetime ends (`RequestLifetimeMiddleware`).
    """

    def __init__(self, app: App, registry: SessionRegistry) -> None:
        self._app = app
        self._registry = registry
        self._known: dict[bytes, SessionIdentity] = {}
        """The identities of requests that name a session by our header alone, by its value."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Join one request, and return the application's awaitable for it, as `AuthMiddleware` does."""
        if scope["type"] != "lifespan":
            scope[_REGISTRY_KEY] = self._registry
            headers: Headers = scope[HEADERS_KEY]
            name = headers.get(OURS)
            if name is not None or CLAUDE_CODE in headers or CODEX in headers:
                identity = self._identify(name, headers)
                if identity is not None and not _is_about_sessions(scope):
                    request: StoppableRequest = scope[REQUEST_KEY]
                    self._registry.join(request, identity)
        return self._app(scope, receive, send)

    def _identify(self, name: bytes | None, headers: Headers) -> SessionIdentity | None:
        if name is None or OUR_AGENT in headers or PARENT in headers:
            return read_session_headers(headers)
        return self._known.get(name) or self._read_and_keep(name, headers)

    def _read_and_keep(self, name: bytes, headers: Headers) -> SessionIdentity | None:
        identity = read_session_headers(headers)
        if identity is not None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[name] = identity
        return identity


def _is_about_sessions(scope: Scope) -> bool:
    path: str = scope["path"]
    return SESSIONS_PATH in path and path.startswith(SESSIONS_PATH)  # `in` is quicker, and false for most paths


def join_session(scope: Scope, identity: SessionIdentity | None) -> None:
    """Make a request a call of the session that its body names, unless a header names one.

    Without effect where `identity` is None, and outside of `SessionMiddleware`. Raises ErrSessionStopped.
    """
    registry: SessionRegistry | None = scope.get(_REGISTRY_KEY)
    if identity is not None and registry is not None:
        request: StoppableRequest = scope[REQUEST_KEY]
        registry.join(request, identity)
