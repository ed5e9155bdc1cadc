"""Which headers of a request and of a response are forwarded, and which are added. Pure functions of bytes.

Hop-by-hop headers are removed (RFC 9110, 7.6.1), and the forwarding headers are written (RFC 7239, and the customary
`X-Forwarded-*`). Any other header is forwarded unchanged, in the same order, duplicates included.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import inf
from typing import NamedTuple

from lakehouse.core.errors import ErrBadRequest

Headers = Sequence[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
    b"upgrade http2-settings".split()
)
"""Headers that are valid for one connection only, like each header that `Connection` names."""

_WRITTEN_HERE = frozenset(
    b"forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-request-id x-request-timeout-ms".split()
)
_OWN_TO_EACH_CONNECTION = frozenset(
    b"host content-length expect authorization "  # the upstream has its own host and framing; the token is for us
    b"sec-websocket-key sec-websocket-version sec-websocket-extensions sec-websocket-protocol".split()
)
_UNTRUSTED_FORWARDING_HEADERS = frozenset(
    b"x-forwarded-port x-forwarded-prefix x-forwarded-server x-forwarded-scheme x-forwarded-ssl x-forwarded-by "
    b"x-real-ip".split()
)
"""Headers that are not written here, but that an upstream would believe because it believes our `X-Forwarded-For`."""

MAX_CACHED_HOST = 256
"""Bytes of a Host header from which on nothing is cached for it: a host name is shorter, and the cache is bounded."""

_DROPPED_FROM_PROXIES = HOP_BY_HOP | _WRITTEN_HERE | _OWN_TO_EACH_CONNECTION
_DROPPED = _DROPPED_FROM_PROXIES | _UNTRUSTED_FORWARDING_HEADERS

_RESPONSE_DROPPED = HOP_BY_HOP | frozenset(b"content-length content-type x-request-id".split())
_NEVER_TRAILERS = HOP_BY_HOP | frozenset(b"content-length host x-request-id".split())
_PLAIN_CONNECTION_VALUES = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Upgrade", b"upgrade"})


class RequestHead(NamedTuple):
    """The headers for the upstream, without `Host` and framing.

    `length` is the body's in bytes: 0 without a body, None if it is unknown. `dropped_headers` are those that are not
    forwarded unchanged, by name; values of a repeated header are joined by commas.
    """

    headers: list[tuple[bytes, bytes]]
    length: int | None
    dropped_headers: dict[bytes, bytes]


def make_request_head(
    headers: Headers, *, peer: str, scheme: str, trusted: bool, request_id: str, time_left: float = inf
) -> RequestHead:
    """The head for the upstream of a request with these headers, whose names are in lower case.

    `peer` is the address of the other end of the connection, `trusted` whether its forwarding headers are passed on,
    and `time_left` the time until the client's deadline, in seconds. Raises ErrBadRequest for a bad Content-Length.
    """
    dropped = _DROPPED_FROM_PROXIES if trusted else _DROPPED
    kept: list[tuple[bytes, bytes]] = []
    removed: dict[bytes, bytes] = {}
    for pair in headers:
        name = pair[0]
        if name in dropped:
            removed[name] = removed[name] + b", " + pair[1] if name in removed else pair[1]
        # To CGI and all that descends from it (WSGI, PHP), X_Forwarded_For is the same as X-Forwarded-For.
        elif b"_" not in name or name.replace(b"_", b"-") not in dropped:
            kept.append(pair)
    if (connection := removed.get(b"connection")) is not None and connection not in _PLAIN_CONNECTION_VALUES:
        kept = _remove_named(kept, connection)
    host = removed.get(b"host", b"")  # HTTP/1.0 may come without
    if trusted:
        kept += _extend_forwarding_headers(removed, peer, scheme, host)
    else:
        kept += (_make_forwarding_headers if len(host) < MAX_CACHED_HOST else _make_forwarding_headers.__wrapped__)(
            peer, scheme, host
        )
    kept.append((b"x-request-id", request_id.encode("latin-1", "replace")))
    if time_left != inf:
        kept.append((b"x-request-timeout-ms", b"%d" % max(1, time_left * 1000)))
    return RequestHead(kept, _parse_length(removed), removed)


def accepts_trailers(removed: dict[bytes, bytes]) -> bool:
    """Whether the client accepts trailers (`TE: trailers`), so that the upstream may send them."""
    return b"te" in removed and b"trailers" in _parse_tokens(removed[b"te"])


def _parse_length(removed: dict[bytes, bytes]) -> int | None:
    if b"transfer-encoding" in removed:
        return None  # a transfer coding overrules a length (RFC 9112, 6.3)
    value = removed.get(b"content-length")
    if value is None:
        return 0
    if not value.isdigit():
        raise ErrBadRequest("content-length must be one number of bytes")
    return int(value)


@lru_cache(maxsize=1024)
def _make_forwarding_headers(peer: str, scheme: str, host: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The forwarding headers of a request without a proxy before us. Cached, because few peers use few hosts."""
    address, node = _format_node(peer)
    protocol = b"https" if scheme in ("https", "wss") else b"http"
    written = ((b"x-forwarded-for", address), (b"x-forwarded-proto", protocol))
    if not host:
        return (*written, (b"forwarded", b"for=%b;proto=%b" % (node, protocol)))
    element = b"for=%b;host=%b;proto=%b" % (node, _quote(host), protocol)
    return (*written, (b"forwarded", element), (b"x-forwarded-host", host))


def _extend_forwarding_headers(
    removed: dict[bytes, bytes], peer: str, scheme: str, host: bytes
) -> list[tuple[bytes, bytes]]:
    """The forwarding headers behind a trusted proxy: its values are kept, and the gateway's element is appended."""
    extended = dict(_make_forwarding_headers(peer, scheme, host))
    for name in (b"x-forwarded-for", b"forwarded"):
        if before := removed.get(name):
            extended[name] = before + b", " + extended[name]
    for name in (b"x-forwarded-proto", b"x-forwarded-host"):
        if name in removed:
            extended[name] = removed[name]
    return [pair for pair in extended.items() if pair[1]]


def _format_node(peer: str) -> tuple[bytes, bytes]:
    """A peer's address for `X-Forwarded-For`, and as a node identifier of RFC 7239 (6)."""
    if not peer:
        return b"unknown", b"unknown"
    address = peer.encode("ascii", "replace")
    return address, b'"[%b]"' % address if b":" in address else address


def _quote(value: bytes) -> bytes:
    return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _parse_tokens(value: bytes) -> set[bytes]:
    return {token.partition(b";")[0].strip().lower() for token in value.split(b",")}


def _remove_named(headers: list[tuple[bytes, bytes]], connection: bytes) -> list[tuple[bytes, bytes]]:
    named = _parse_tokens(connection)
    return [pair for pair in headers if pair[0] not in named]


class ResponseHead(NamedTuple):
    """The headers for the client. `filter_trailers` is the upstream's `Trailer` header, empty without one.

    `streamed` is true if the end of the body is not known beforehand: it has no length, or is an event stream.
    """

    headers: list[tuple[bytes, bytes]]
    streamed: bool
    trailers: bytes


def make_response_head(headers: Headers, *, status: int, has_body: bool) -> ResponseHead:
    """The head for the client of a response with these headers; their names become lower-case."""
    kept: list[tuple[bytes, bytes]] = []
    removed: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()  # noqa: PLW2901 - ASGI's names are lower-case
        if name not in _RESPONSE_DROPPED:
            kept.append((name, value))
            continue
        removed[name] = removed[name] + b", " + value if name in removed else value
        if name == b"content-type":
            kept.append((name, value))
    if (connection := removed.get(b"connection")) is not None and connection not in _PLAIN_CONNECTION_VALUES:
        kept = _remove_named(kept, connection)
    chunked = b"transfer-encoding" in removed
    length = None if chunked or status == 204 else removed.get(b"content-length")
    if length is not None:
        kept.append((b"content-length", length))
    elif chunked and has_body:
        kept.append((b"transfer-encoding", b"chunked"))  # our own server then keeps the body chunked
    streamed = has_body and (
        length is None or removed.get(b"content-type", b"").lower().startswith(b"text/event-stream")
    )
    return ResponseHead(kept, streamed, removed.get(b"trailer", b""))


def filter_trailers(fields: Headers) -> list[tuple[bytes, bytes]]:
    """The trailers for the client: those of the upstream that belong neither to the head nor to the connection."""
    return [field for field in fields if field[0].lower() not in _NEVER_TRAILERS]


def format_server_timing(upstream: float, gateway: float) -> tuple[bytes, bytes]:
    """The `Server-Timing` header, in milliseconds, from two durations in seconds."""
    return b"server-timing", b"upstream;dur=%.1f, gateway;dur=%.1f" % (upstream * 1e3, gateway * 1e3)
