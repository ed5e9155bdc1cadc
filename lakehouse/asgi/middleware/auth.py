"""Our own door: which networks may connect, who has a token, and whom a door without one keeps out."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import blake2s
from pathlib import Path

from lakehouse.asgi.middleware.cors import PREFLIGHT, Origins
from lakehouse.asgi.middleware.cross_site import is_cross_site, is_loopback, is_rebindable_host, may_be_browser
from lakehouse.asgi.types import App, Receive, Scope, Send
from lakehouse.config import AuthTable, ConfigError
from lakehouse.config.files import read_text
from lakehouse.core.errors import ErrForbidden, ErrUnauthorized
from lakehouse.net.networks import Network, Networks

HEALTH_PATHS = (b"/healthz", b"/readyz")
"""Open to everybody, whatever the network and with no token: a load balancer asks from where it stands."""

_BEARER = re.compile(rb"[ \t]*bearer[ \t]+(.*?)[ \t]*", re.IGNORECASE | re.DOTALL)


class Tokens:
    """The bearer tokens that open the door. Only their digests are kept, so none can end up in a log or a traceback."""

    __slots__ = ("_digests",)

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._digests = tuple(
            blake2s(token.encode("utf-8", "surrogateescape")).digest()
            for token in tokens  # bytes of the environment
        )

    @classmethod
    def load(cls, auth: AuthTable, env: Mapping[str, str] | None = None) -> Tokens:
        """The tokens of the environment (separated by commas) and of the file (one a line, ``#`` before a comment).

        Raises ConfigError if the file cannot be read or has no token in it: a door must not stand open by mistake.
        """
        env = os.environ if env is None else env
        tokens = [token.strip() for token in env.get(auth.token_env, "").split(",")] if auth.token_env else []
        if auth.token_file:
            tokens += read_tokens(Path(auth.token_file).expanduser())
        return cls(token for token in tokens if token)

    def __len__(self) -> int:
        return len(self._digests)

    def admits(self, authorization: bytes) -> bool:
        """Whether an `Authorization` header carries one of the tokens.

        It is compared with every token, by digest, so that the time taken tells neither how much of a guess was right
        nor which token it was close to.
        """
        bearer = _BEARER.fullmatch(authorization)
        presented = blake2s(bearer[1] if bearer else b"").digest()
        known = False
        for digest in self._digests:
            known |= hmac.compare_digest(digest, presented)
        return known and bearer is not None


def read_tokens(path: Path) -> list[str]:
    """The tokens of a file. Raises ConfigError if it cannot be read or has none in it."""
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it {error}"
        raise ConfigError([f"auth.token_file cannot be read: {path}: {reason}"]) from None
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise ConfigError([f"auth.token_file has no token in it: {path}"])
    return tokens


SignIn = Callable[[Scope, Send], Awaitable[bool]]


class AuthMiddleware:
    """ASGI middleware in front of both groups, WebSockets included.

    Raises ErrForbidden (403) for a peer outside `allow` and ErrUnauthorized (401) for one without a token of ours,
    before the app has seen the request. It judges the peer's own address: what a header says about addresses is
    anybody's word. No tokens: the door is open to every network that is allowed, but not to the pages of other sites
    (see `browsers`), except those of `origins`; what the peers in `trusted` say of the host that was asked for is
    believed. A preflight of one of `origins` (see `cross_origin`) is answered here, for it has no token. `sign_in` may
    answer whoever has no token in a better way than with a 401: it says whether it did.
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
    ) -> None:
        self._app = app
        self._sign_in = sign_in
        self._tokens = tokens
        self._allow = Networks(allow)
        self._trusted = Networks(trusted)
        self._origins = origins or Origins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The raw path: nothing else may hide behind a path that only looks like these once it is decoded.
        kind = scope["type"]
        if kind != "lifespan" and not (kind == "http" and scope.get("raw_path") in HEALTH_PATHS):
            try:
                self._check(scope)
            except ErrUnauthorized:
                if self._sign_in is not None and await self._sign_in(scope, send):
                    return
                raise
        if PREFLIGHT in scope:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        peer = scope.get("client")
        if self._allow and (peer is None or peer[0] not in self._allow):
            raise ErrForbidden("your network may not connect here")
        if not self._tokens:
            self._check_cross_site(scope)
            self._check_host(scope)
            return
        if PREFLIGHT in scope:  # which a browser sends without a token
            return
        presented = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(presented) != 1:
            raise ErrUnauthorized("a bearer token is needed: send one `Authorization: Bearer TOKEN`")
        if not self._tokens.admits(presented[0]):
            raise ErrUnauthorized("the bearer token is not one of ours")

    def _check_cross_site(self, scope: Scope) -> None:
        """A token is what no page of another site has; without one, pages are told by what they cannot hide."""
        headers = scope["headers"]
        if self._origins and self._origins.caller(headers) is not None:
            return
        if is_cross_site(headers, reads=scope.get("method") in ("GET", "HEAD")):
            raise ErrForbidden(
                "a page of another site may not use this service while it has no token (auth.token_env), "
                "unless its origin is in auth.origins"
            )

    def _check_host(self, scope: Scope) -> None:
        """A page whose own name was made to mean this machine (DNS rebinding) is told by that name."""
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
