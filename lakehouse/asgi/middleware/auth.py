"""Access to the service: which networks may connect, whose token a request presents, and web pages without a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from lakehouse.asgi import request_scope
from lakehouse.asgi.middleware.cors import PREFLIGHT, Origins
from lakehouse.asgi.middleware.cross_site import is_cross_site, may_be_browser
from lakehouse.asgi.middleware.tokens import Tokens
from lakehouse.asgi.responses import empty_response
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.core.errors import ErrForbidden, ErrUnauthorized, LakehouseError
from lakehouse.net.hosts import is_loopback, is_rebindable_host
from lakehouse.net.networks import Network, Networks

HEALTH_PATHS = (b"/healthz", b"/readyz", b"/health")
"""Open to every network and without a token: a load balancer calls them from where it stands."""

API_KEY_PATHS = (b"/v1/messages", b"/v1/models")
"""Paths that Anthropic's clients call. There the token may stand in `x-api-key`, where some of them put their key."""

SignIn = Callable[[Scope, Send], Awaitable[bool]]
"""Sends a response to a request without a valid token, in place of the 401. Returns false if it has sent none."""

NameRoute = Callable[[Scope], None]
"""Records the name of the route of a request that is refused before it has reached the router."""


class AuthMiddleware:
    """ASGI middleware in front of both route groups, WebSockets included.

    Raises ErrForbidden (403) for a peer outside of `allow`, and ErrUnauthorized (401) for a request without a valid
    token, before the application has seen the request. The token is in `Authorization`, or on the paths of Anthropic's
    clients, if that header is absent, in `x-api-key`. Only the peer's own address counts, because any client can
    send a header about addresses. The token's principal goes into the request context.

    Without tokens every network in `allow` may connect, and the pages of other web sites may not (see `cross_site`),
    except those of `origins`; the peers in `trusted` are believed about the host that was asked for. The preflight of
    one of `origins` (see `cors`) has no token, and is answered here.
    """

    def __init__(
        self,
        app: App,
        *,
        tokens: Tokens,
        allow: Iterable[Network] = (),
        trusted: Iterable[Network] = (),
        origins: Origins | None = None,
        sign_in: SignIn | None = None,
        principal: str | None = None,
        name_route: NameRoute | None = None,
    ) -> None:
        """`principal` is whose requests are that need no token, for the log.

        `name_route` is called for a request that is refused here or by a middleware inside of this one.
        """
        self._app = app
        self._principal = principal
        self._name_route = name_route
        self._sign_in = sign_in
        self._tokens = tokens
        self._allow = Networks(allow)
        self._limits_networks = bool(self._allow)
        self._needs_token = bool(tokens)
        self._trusted = Networks(trusted)
        self._origins = Origins() if origins is None else origins

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Check one request, and return the application's awaitable for it: a coroutine around that would run at each
        wait of the request."""
        # The raw path: a path that becomes one of these when it is decoded must not pass as one of them.
        kind = scope["type"]
        try:
            if kind != "lifespan" and not (kind == "http" and scope.get("raw_path") in HEALTH_PATHS):
                self._check(scope)
            if PREFLIGHT in scope:
                return empty_response(204).send_to(send)
            return self._app(scope, receive, send)
        except LakehouseError as error:
            if self._name_route is not None:
                self._name_route(scope)
            if self._sign_in is None or not isinstance(error, ErrUnauthorized):
                raise
            return _offer_sign_in(self._sign_in, error, scope, send)

    def _check(self, scope: Scope) -> None:
        peer = scope.get("client")
        if self._limits_networks and (peer is None or peer[0] not in self._allow):
            raise ErrForbidden("your network may not connect here")
        if not self._needs_token:
            self._check_cross_site(scope)
            self._check_host(scope)
            if self._principal is not None and (request := request_scope.find(scope)) is not None:
                request.context.identify(self._principal)
            return
        if PREFLIGHT in scope:  # which a browser sends without a token
            return
        principal = self._identify(scope)
        if (request := request_scope.find(scope)) is not None:
            request.context.identify(principal)

    def _identify(self, scope: Scope) -> str:
        """The principal of the token that a request presents, once. Raises ErrUnauthorized."""
        headers = scope["headers"]
        presented = [value for name, value in headers if name == b"authorization"]
        if not presented and scope.get("raw_path", b"").startswith(API_KEY_PATHS):
            keys = [value for name, value in headers if name == b"x-api-key"]
            if len(keys) == 1:
                principal = self._tokens.identify_token(keys[0].strip())
                if principal is None:
                    raise ErrUnauthorized("the token in `x-api-key` is not valid for this service")
                return principal
        if len(presented) != 1:
            raise ErrUnauthorized("a bearer token is needed: send one `Authorization: Bearer TOKEN`")
        principal = self._tokens.identify(presented[0])
        if principal is None:
            raise ErrUnauthorized("the bearer token is not valid for this service")
        return principal

    def _check_cross_site(self, scope: Scope) -> None:
        """Refuse the pages of other sites, which have no token either, by the headers that they cannot suppress."""
        headers = scope["headers"]
        if self._origins and self._origins.find_allowed(headers) is not None:
            return
        if is_cross_site(headers, reads=scope.get("method") in ("GET", "HEAD")):
            raise ErrForbidden(
                "a page of another site may not use this service while it has no token (auth.token_env), "
                "unless its origin is in auth.origins"
            )

    def _check_host(self, scope: Scope) -> None:
        """Refuse a page whose own host name was made to resolve to this machine (DNS rebinding), by that name."""
        headers = scope["headers"]
        peer, server = scope.get("client"), scope.get("server")
        if server is None or not is_loopback(server[0]) or (peer is not None and peer[0] in self._trusted):
            return
        host = next((value for name, value in headers if name == b"host"), b"")
        if is_rebindable_host(host) and may_be_browser(headers):
            raise ErrForbidden(
                f"{host[:80].decode('latin-1')!r} is not a name of this machine: set a token (auth.token_env), or, "
                "if a proxy of yours passes this name on, put the proxy's address into gateway.trusted_proxies"
            )


async def _offer_sign_in(sign_in: SignIn, error: ErrUnauthorized, scope: Scope, send: Send) -> None:
    if not await sign_in(scope, send):
        raise error
