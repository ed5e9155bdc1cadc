"""A request's head, and the rules for its contents that llhttp does not have."""

from __future__ import annotations

import re
from ipaddress import ip_address

from lakehouse.core.errors import ErrBadRequest
from lakehouse.net.hosts import is_loopback, is_rebindable_host
from lakehouse.net.http1.fields import Headers
from lakehouse.net.http1.framing import CHUNKED, NO_BODY, Length, RequestFraming


class ProtocolError(ErrBadRequest):
    """The bytes are no acceptable request: the connection responds with `status`, reads no more, and ends."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]  # 400, 408, 414, 417, 431, 501 or 505, the class has 400


class RequestHead:
    """A request's head. Header names are lower case, in their order, duplicates kept.

    `framing` is how its body ends; a declared length of 0 is `NO_BODY`. `keep_alive` is the client's wish.
    """

    __slots__ = (
        "expects_continue",
        "framing",
        "headers",
        "keep_alive",
        "method",
        "target",
        "te_trailers",
        "version",
        "websocket",
    )

    def __init__(self, method: bytes, target: bytes, version: str, headers: Headers, keep_alive: bool) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.keep_alive = keep_alive
        self.framing: RequestFraming = NO_BODY
        self.expects_continue = False
        self.te_trailers = False
        self.websocket = False


# Everything that RFC 3986 allows in an authority, and `%` for what it encodes.
_HOST_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:[]%"

# TRACE reflects headers, credentials among them, to any page that can make a client send it; CONNECT requests a tunnel,
# and the rest are RTSP's and Icecast's, which llhttp parses as well (and calls their version 1.0).
_REFUSED_METHODS = frozenset(
    b"TRACE CONNECT SOURCE DESCRIBE ANNOUNCE SETUP PLAY PAUSE TEARDOWN GET_PARAMETER SET_PARAMETER REDIRECT RECORD "
    b"FLUSH".split()
)


def validate_head(head: RequestHead, *, upgrades: bool) -> None:
    """Set the head's framing, expectation and upgrade from its headers; `upgrades` is llhttp's reading of `Upgrade`.

    Raises `ProtocolError` for contents that llhttp accepts and this server does not.
    """
    if head.version not in ("1.1", "1.0"):
        raise ProtocolError(f"HTTP/{head.version} is not supported; use HTTP/1.1", 505)
    if head.method in _REFUSED_METHODS:
        raise ProtocolError(f"the method {head.method.decode()} is not supported", 501)
    if b"#" in head.target:
        raise ProtocolError("a request target has no fragment (`#`)")
    fields = dict(head.headers)
    _check_host(head, fields)
    if b"content-length" in fields:
        length = int(fields[b"content-length"])  # llhttp has checked that there is one, of digits
        head.framing = Length(length) if length else NO_BODY
    elif b"transfer-encoding" in fields:
        _check_coding(head)
        head.framing = CHUNKED
    if head.version == "1.1":
        _parse_expect_te_upgrade(head, fields, upgrades)


def _check_host(head: RequestHead, fields: dict[bytes, bytes]) -> None:
    host = fields.get(b"host")
    if host is None:
        if head.version == "1.1":
            raise ProtocolError("the request has no Host header")
        return
    if host.translate(None, _HOST_BYTES):
        raise ProtocolError("the Host header is not a host")
    if len(fields) != len(head.headers) and sum(name == b"host" for name, _ in head.headers) > 1:
        raise ProtocolError("the request has more than one Host header")


def _check_coding(head: RequestHead) -> None:
    if head.version == "1.0":
        raise ProtocolError("HTTP/1.0 has no Transfer-Encoding")  # a proxy before us may have ignored it
    # All lines are one list (RFC 9110, 5.3): llhttp looks only at whether `chunked` is the last in it.
    if [value.lower() for name, value in head.headers if name == b"transfer-encoding"] != [b"chunked"]:
        raise ProtocolError("the only transfer coding supported is `chunked`", 501)


def _parse_expect_te_upgrade(head: RequestHead, fields: dict[bytes, bytes], upgrades: bool) -> None:
    """Read Expect, TE and Upgrade, which HTTP/1.0 does not have."""
    if b"expect" in fields:
        if fields[b"expect"].lower() != b"100-continue":
            raise ProtocolError("the only expectation supported is `100-continue`", 417)
        head.expects_continue = head.framing is not NO_BODY
    if b"te" in fields:
        head.te_trailers = any(part.strip().lower() == b"trailers" for part in fields[b"te"].split(b","))
    if upgrades and fields[b"upgrade"].lower() == b"websocket" and head.method == b"GET":
        if head.framing is not NO_BODY:
            raise ProtocolError("a WebSocket request has no body")
        head.websocket = True


_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)([/?].*)?", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{0,5}))?")
_DEFAULT_PORTS = {b"http": 80, b"https": 443}


def to_origin_form(head: RequestHead, *, secure: bool, server: tuple[str, int | None] | None) -> None:
    """Turn a target in absolute form (RFC 9112, 3.2.2) into a path; its authority replaces the `Host` header.

    `server` is the address at which the connection came in. A target that is not a URL of this listener stays as it
    is, for the application to refuse: one with another scheme, port or host, with a user, or malformed.
    """
    match = _ABSOLUTE.fullmatch(head.target)
    if match is None or server is None:
        return
    scheme, authority, rest = match[1].lower(), match[2], match[3] or b""
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or b"@" in authority or scheme != (b"https" if secure else b"http"):
        return
    port = int(parts[2] or _DEFAULT_PORTS[scheme])
    if not _names_listener(parts[1].decode("ascii"), port, server):
        return
    if not rest.startswith(b"/"):
        rest = b"*" if head.method == b"OPTIONS" and not rest else b"/" + rest
    head.target = rest
    head.headers = [(b"host", authority), *(pair for pair in head.headers if pair[0] != b"host")]


def _names_listener(host: str, port: int, server: tuple[str, int | None]) -> bool:
    """True if an authority names this listener: its port, and its address or a name that is not public (`localhost`).

    An address must be the one that the connection arrived at, or a loopback address where that is one. A Unix socket
    has neither an address nor a port.
    """
    address, listening = server
    if listening is not None and port != listening:
        return False
    try:
        literal = ip_address(host.strip("[]"))
    except ValueError:
        return not is_rebindable_host(host.encode())
    if listening is None:
        return literal.is_loopback
    return literal == ip_address(address.partition("%")[0]) or (literal.is_loopback and is_loopback(address))
