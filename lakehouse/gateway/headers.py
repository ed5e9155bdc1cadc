"""What of a request's and a response's headers goes on, and what the gateway adds. Pure functions of bytes.

RFC 9110 (7.6.1) says what ends at every hop; RFC 7239 and custom say who is told that we stood in between. Whatever
is not named here goes on as it came: duplicates, order and values.
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
"""Valid for one connection only, like everything that `Connection` names."""

_WRITTEN_HERE = frozenset(
    b"forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-request-id x-request-timeout-ms".split()
)
_OF_THE_HOP = frozenset(
    b"host content-length expect authorization "  # the upstream has its own host and framing; the token is for our door
    b"sec-websocket-key sec-websocket-version sec-websocket-extensions sec-websocket-protocol".split()
)
_UNTRUSTED_FORWARDING_HEADERS = frozenset(
    b"x-forwarded-port x-forwarded-prefix x-forwarded-server x-forwarded-scheme x-forwarded-ssl x-forwarded-by "
    b"x-real-ip".split()
)
"""Not written here, but an upstream that is told `X-Forwarded-For` by us would believe these to be ours as well."""

LONG_HOST = 256
"""Bytes of a Host header from which on nothing is remembered of it: a name has fewer, and memory must stay bounded."""

_FROM_A_PROXY = HOP_BY_HOP | _WRITTEN_HERE | _OF_THE_HOP
_FROM_ANYBODY = _FROM_A_PROXY | _UNTRUSTED_FORWARDING_HEADERS

_RESPONSE_NOTED = HOP_BY_HOP | frozenset(b"content-length content-type x-request-id".split())
_NEVER_TRAILERS = HOP_BY_HOP | frozenset(b"content-length host x-request-id".split())
_ONLY_ABOUT_THE_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Upgrade", b"upgrade"})


class RequestHead(NamedTuple):
    """The headers for the upstream, without `Host` and framing. `length` is the body's: 0 for none, None if unknown."""

    headers: list[tuple[bytes, bytes]]
    length: int | None
    dropped_headers: dict[bytes, bytes]


def request_headers(
    headers: Headers, *, peer: str, scheme: str, trusted: bool, request_id: str, time_left: float = inf
) -> RequestHead:
    """What the upstream is sent for a request with these (lower-case) headers.

    `peer` is the address that connected to us, `time_left` what remains of the caller's deadline, in seconds. `dropped_headers`
    holds what did not go on as it came; a repeated one is joined by commas.
    """
    dropped = _FROM_A_PROXY if trusted else _FROM_ANYBODY
    kept: list[tuple[bytes, bytes]] = []
    noted: dict[bytes, bytes] = {}
    for pair in headers:
        name = pair[0]
        if name in dropped:
            noted[name] = noted[name] + b", " + pair[1] if name in noted else pair[1]
        # To CGI and all that descends from it (WSGI, PHP), X_Forwarded_For is the same as X-Forwarded-For.
        elif b"_" not in name or name.replace(b"_", b"-") not in dropped:
            kept.append(pair)
    if (connection := noted.get(b"connection")) is not None and connection not in _ONLY_ABOUT_THE_CONNECTION:
        kept = _without(kept, connection)
    host = noted.get(b"host", b"")  # HTTP/1.0 may come without
    if trusted:
        kept += _forwarded_on(noted, peer, scheme, host)
    else:
        kept += (_forwarded if len(host) < LONG_HOST else _forwarded.__wrapped__)(peer, scheme, host)
    kept.append((b"x-request-id", request_id.encode("latin-1", "replace")))
    if time_left != inf:
        kept.append((b"x-request-timeout-ms", b"%d" % max(1, time_left * 1000)))
    return RequestHead(kept, _length(noted), noted)


def accepts_trailers(noted: dict[bytes, bytes]) -> bool:
    """Whether the caller can take trailers (`TE: trailers`), so that the upstream may be told."""
    return b"te" in noted and b"trailers" in _tokens(noted[b"te"])


def _length(noted: dict[bytes, bytes]) -> int | None:
    if b"transfer-encoding" in noted:
        return None  # which also overrules a length (RFC 9112, 6.3); neither goes on as it came
    value = noted.get(b"content-length")
    if value is None:
        return 0
    if not value.isdigit():
        raise ErrBadRequest("content-length must be one number of bytes")
    return int(value)


@lru_cache(maxsize=1024)
def _forwarded(peer: str, scheme: str, host: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Who is told of a request that came straight to us; the same few peers ask for the same few hosts."""
    address, node = _node(peer)
    protocol = b"https" if scheme in ("https", "wss") else b"http"
    written = ((b"x-forwarded-for", address), (b"x-forwarded-proto", protocol))
    if not host:
        return (*written, (b"forwarded", b"for=%b;proto=%b" % (node, protocol)))
    element = b"for=%b;host=%b;proto=%b" % (node, _quoted(host), protocol)
    return (*written, (b"forwarded", element), (b"x-forwarded-host", host))


def _forwarded_on(noted: dict[bytes, bytes], peer: str, scheme: str, host: bytes) -> list[tuple[bytes, bytes]]:
    """The same behind a proxy that is trusted: what it says of those before it stays."""
    ours = dict(_forwarded(peer, scheme, host))
    for name in (b"x-forwarded-for", b"forwarded"):
        if before := noted.get(name):
            ours[name] = before + b", " + ours[name]
    for name in (b"x-forwarded-proto", b"x-forwarded-host"):
        if name in noted:
            ours[name] = noted[name]
    return [pair for pair in ours.items() if pair[1]]


def _node(peer: str) -> tuple[bytes, bytes]:
    """A peer's address for `X-Forwarded-For`, and as RFC 7239 (6) wants it."""
    if not peer:
        return b"unknown", b"unknown"
    address = peer.encode("ascii", "replace")
    return address, b'"[%b]"' % address if b":" in address else address


def _quoted(value: bytes) -> bytes:
    return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _tokens(value: bytes) -> set[bytes]:
    return {token.partition(b";")[0].strip().lower() for token in value.split(b",")}


def _without(headers: list[tuple[bytes, bytes]], connection: bytes) -> list[tuple[bytes, bytes]]:
    named = _tokens(connection)
    return [pair for pair in headers if pair[0] not in named]


class ResponseHead(NamedTuple):
    """The headers for the client. `trailers` is what the upstream announced as trailers, or empty.

    `streamed` is whether the body's end is not known beforehand: it has no length, or it is an event stream.
    """

    headers: list[tuple[bytes, bytes]]
    streamed: bool
    trailers: bytes


def response_headers(headers: Headers, *, status: int, has_body: bool) -> ResponseHead:
    """What the client is sent of an upstream's headers (names in any case; lower-case in the result)."""
    kept: list[tuple[bytes, bytes]] = []
    noted: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()  # noqa: PLW2901 - ASGI's names are lower-case
        if name not in _RESPONSE_NOTED:
            kept.append((name, value))
            continue
        noted[name] = noted[name] + b", " + value if name in noted else value
        if name == b"content-type":
            kept.append((name, value))
    if (connection := noted.get(b"connection")) is not None and connection not in _ONLY_ABOUT_THE_CONNECTION:
        kept = _without(kept, connection)
    chunked = b"transfer-encoding" in noted
    length = None if chunked or status == 204 else noted.get(b"content-length")
    if length is not None:
        kept.append((b"content-length", length))
    elif chunked and has_body:
        kept.append((b"transfer-encoding", b"chunked"))  # for our own server: what was chunked stays so
    streamed = has_body and (length is None or noted.get(b"content-type", b"").lower().startswith(b"text/event-stream"))
    return ResponseHead(kept, streamed, noted.get(b"trailer", b""))


def trailers(fields: Headers) -> list[tuple[bytes, bytes]]:
    """What the client is sent of an upstream's trailers: nothing that belongs into a head or to the connection."""
    return [field for field in fields if field[0].lower() not in _NEVER_TRAILERS]


def server_timing(upstream: float, gateway: float) -> tuple[bytes, bytes]:
    """`Server-Timing` from two durations in seconds; the header has them in milliseconds."""
    return b"server-timing", b"upstream;dur=%.1f, gateway;dur=%.1f" % (upstream * 1e3, gateway * 1e3)
