"""The relay of requests to providers: the services process sends them without a key, its parent adds the key.

    services process ── POST /openrouter/embeddings over a Unix socket ──> parent ── with the key ──> openrouter.ai

The services process works on what clients send, so it has no keys. The relay takes a few paths only, so nothing else
can be done with a key. An error of a provider is made here, without the key in it, and made again on the other side.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping

import msgspec
import trio

from lakehouse.asgi.body import BodyLimits, receive_body
from lakehouse.asgi.middleware.lifetime_middleware import RequestLifetimeMiddleware
from lakehouse.asgi.responses import Response
from lakehouse.asgi.types import Receive, Scope, Send
from lakehouse.config import Config
from lakehouse.config.urls import UNIX_SCHEME
from lakehouse.core import errors
from lakehouse.core.active_requests import ActiveRequests
from lakehouse.core.errors import ErrNotFound, ErrUpstream, LakehouseError
from lakehouse.core.failure_classes import ErrorClass
from lakehouse.server.server import BoundApp, Service, serve_listeners
from lakehouse.services.host.provider_pools import JSON_TYPE, MAX_ANSWER, KeyedProviders
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

PATHS = ("/embeddings", "/rerank", "/api/embed", "/api/embeddings")
"""What the relay takes below the name of a provider."""
MAX_BODY = 64 * 2**20
MAX_CONNECTIONS = 64

_ERRORS: Mapping[str, type[LakehouseError]] = {
    kind.code: kind
    for kind in (
        errors.ErrBadRequest,
        errors.ErrProviderNotFound,
        errors.ErrNotFound,
        errors.ErrTooLarge,
        errors.ErrRateLimited,
        errors.ErrUnavailable,
        errors.ErrTimeout,
    )
}
"""The errors that are made again; any other is an ErrUpstream."""


class RelayedError(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of an error in the contract's document that are made again."""

    code: str
    message: str
    provider: str | None = None
    upstream_status: int | None = None
    error_class: ErrorClass | None = msgspec.field(default=None, name="class")
    retryable: bool = False


class RelayedDocument(msgspec.Struct, frozen=True):
    """The contract's document of an error."""

    error: RelayedError

    def remake(self, retry_after: float | None) -> LakehouseError:
        """The error, as the relay raised it."""
        found = self.error
        return _ERRORS.get(found.code, ErrUpstream)(
            found.message,
            provider=found.provider,
            upstream_status=found.upstream_status,
            error_class=found.error_class,
            retryable=found.retryable,
            retry_after=retry_after,
        )


class ProviderRelay:
    """The ASGI application of the relay."""

    def __init__(self, providers: KeyedProviders) -> None:
        self._providers = providers
        self._limits = BodyLimits(max_size=MAX_BODY, max_size_key="64 MiB, fixed")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        provider, slash, rest = scope["path"].removeprefix("/").partition("/")
        if scope["method"] != "POST" or slash + rest not in PATHS:
            raise ErrNotFound("the relay of providers does not take this path")
        body = await receive_body(scope, receive, self._limits)
        await Response(await self._providers.post(provider, slash + rest, body)).send_to(send)


async def serve_relay(
    listener: socket.socket,
    get_config: Callable[[], Config],
    env: Mapping[str, str],
    *,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the relay on a Unix socket until cancelled. No key is looked for before the first request.

    `get_config` returns the configuration in force.
    """
    providers = KeyedProviders(get_config, env)
    app = RequestLifetimeMiddleware(ProviderRelay(providers), active_requests=ActiveRequests())
    try:
        await serve_listeners(
            [BoundApp(app, listener)],
            stopping=trio.Event(),
            drain_timeout=0.0,
            abort_requests=app.drain,
            task_status=task_status,
        )
    finally:
        providers.close()


class RelayedProviders:
    """The providers with keys, reached through the relay of the parent process."""

    def __init__(self, path: str) -> None:
        self._pool = Upstream(UNIX_SCHEME + path, name="the providers", max_connections=MAX_CONNECTIONS)

    async def post(self, provider: str, path: str, body: bytes) -> bytes:
        """Send a JSON body to a path of a provider. Raises what the relay's `KeyedProviders` raises."""
        request = UpstreamRequest(b"POST", f"/{provider}{path}".encode(), [JSON_TYPE], body)
        with await self._pool.send(request) as response:
            content = await response.read(MAX_ANSWER)
        if response.status == 200:
            return content
        try:
            document = msgspec.json.decode(content, type=RelayedDocument)
        except msgspec.DecodeError:
            raise ErrUpstream(f"the relay of providers answered {response.status}", provider=provider) from None
        raise document.remake(_read_retry_after(response.headers))

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


def _read_retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """The seconds that the relay's error named."""
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit():
            return float(value)
    return None
