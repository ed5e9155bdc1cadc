"""Calls of the services behind the gateway by this process itself, for a request that needs several of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

import msgspec
import trio

from lakehouse.asgi.in_process import InProcessResponse, call_app
from lakehouse.asgi.types import App
from lakehouse.core import errors
from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrUpstream, LakehouseError
from lakehouse.upstream.http1.request import UpstreamRequest
from lakehouse.upstream.pool import Upstream

MAX_RESPONSE = 64 * 1024 * 1024
"""Bytes of a response that is read as a whole."""

_RAISED: Mapping[str, type[LakehouseError]] = {
    kind.code: kind
    for kind in (
        errors.ErrBadRequest,
        errors.ErrConflict,
        errors.ErrForbidden,
        errors.ErrInsufficientStorage,
        errors.ErrNotFound,
        errors.ErrNotImplemented,
        errors.ErrNotInstalled,
        errors.ErrProviderNotFound,
        errors.ErrRateLimited,
        errors.ErrTimeout,
        errors.ErrTooLarge,
        errors.ErrUnavailable,
        errors.ErrUnprocessable,
        errors.ErrUpstream,
    )
}
"""The errors of a service that are raised as they are. Any other failure of it is an `ErrUpstream`."""


class ServiceCalls:
    """Calls services by their names: applications of this process, and upstreams.

    The request's id, its trace and what is left of its deadline go along with each call. A call that is cancelled
    closes its connection, and the service ends what it does for it.
    """

    def __init__(self, services: Mapping[str, App | Upstream]) -> None:
        self._services = services

    async def call(
        self, service: str, method: str, path: str, document: object = None, *, context: RequestContext
    ) -> bytes:
        """Send `document` as JSON, or no body, and return the response's body.

        `path` is percent-encoded and has no version. Raises the service's error, `ErrUpstream` (also for a response of
        more than `MAX_RESPONSE` bytes), `ErrUnavailable` and `ErrTimeout`.
        """
        body = b"" if document is None else msgspec.json.encode(document)
        headers = list(_make_headers(context, has_body=document is not None))
        backend = self._services[service]
        if isinstance(backend, Upstream):
            target = backend.base_path + path.encode()
            request = UpstreamRequest(method.encode(), target, headers, body or None)
            with await backend.send(request) as response:
                status, answer = response.status, await response.read(MAX_RESPONSE)
                fields = response.headers
        else:
            text = [(name.decode(), value.decode("latin-1")) for name, value in headers]
            async with call_app(backend, method, path, headers=text, body=body) as result:
                status, answer, fields = result.status, await _read_bounded(service, result), list(result.headers)
        if status >= 300:
            raise _decode_failure(service, status, answer, fields)
        return answer


async def _read_bounded(service: str, response: InProcessResponse) -> bytes:
    """The whole body of an application's response. Raises `ErrUpstream` beyond `MAX_RESPONSE`, as `Upstream` does."""
    pieces: list[bytes] = []
    size = 0
    async for piece in response:
        size += len(piece)
        if size > MAX_RESPONSE:
            raise ErrUpstream(
                f"{service} answered more than {MAX_RESPONSE} bytes",
                provider=service,
                upstream_status=response.status,
                error_class="upstream_error",
            )
        pieces.append(piece)
    return b"".join(pieces)


def _make_headers(context: RequestContext, *, has_body: bool) -> Iterable[tuple[bytes, bytes]]:
    yield b"x-request-id", context.id.encode("latin-1", "replace")
    if has_body:
        yield b"content-type", b"application/json"
    if context.deadline != inf:
        left = max(1, int((context.deadline - trio.current_time()) * 1000))
        yield b"x-request-timeout-ms", b"%d" % left
    if (traceparent := context.traceparent()) is not None:
        yield b"traceparent", traceparent


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    message: str
    details: dict[str, object] | None = None


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    error: _Failure


def _decode_failure(service: str, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> LakehouseError:
    """The error in a response, if it is one of ours with its own status."""
    try:
        failure = msgspec.json.decode(body, type=_Envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _unexpected(service, status)
    kind = _RAISED.get(failure.code)
    if kind is None or kind.status != status:
        return _unexpected(service, status)
    pause = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    return kind(
        failure.message,
        details=failure.details,
        retry_after=float(pause) if pause.isdigit() and len(pause) < 9 else None,
        upstream_status=status if kind is ErrUpstream else None,
    )


def _unexpected(service: str, status: int) -> ErrUpstream:
    return ErrUpstream(
        f"{service} answered with status {status}",
        provider=service,
        upstream_status=status,
        error_class="upstream_error",
    )
