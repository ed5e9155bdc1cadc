"""A request to an upstream: what the caller gives, and its bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from lakehouse.core.context import RequestContext
from lakehouse.core.errors import ErrBadRequest
from lakehouse.net.http1.fields import InvalidFieldError, encode_fields, is_token
from lakehouse.net.http1.framing import CHUNKED, NO_BODY, Delimiter, Length, RequestFraming

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Methods of which a second sending changes nothing more (RFC 9110, 9.2.2)."""

_CONDITION = re.compile(rb"\nif-(?:(?:none-)?match|unmodified-since): ")
_CHANGES = frozenset((b"PUT", b"DELETE"))
"""With a condition, a second sending of these fails because of the first one: the caller would be told 412 for what has
been done."""

_EXPECTS_BODY = frozenset((b"POST", b"PUT", b"PATCH"))
_TARGET = re.compile(rb"/[!-~\x80-\xff]*|\*")
_IDEMPOTENCY_KEY = re.compile(rb"\nidempotency-key: *[^ \t\r\n]")
"""An `Idempotency-Key` with a value, in a head in lower case."""


FieldEncoder = Callable[[tuple[tuple[bytes, bytes], ...]], bytes]
"""`net.http1.fields.encode_fields`, or a cache in front of it."""


class RequestBody(Protocol):
    """A body that arrives in pieces. `length` is in bytes; None sends it in chunks."""

    @property
    def length(self) -> int | None: ...

    async def receive(self) -> bytes:
        """The next piece, b"" at the end. An exception ends the request, and comes out of it."""
        ...


class UpstreamRequest(msgspec.Struct):
    """A request as the caller gives it.

    `target` is sent as it is; an upstream's `base_path` is the caller's to put before it. So are `headers`; `Host` and
    the body's framing are added. `context` is kept up to date with the phase of the request.
    """

    method: bytes
    target: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes | RequestBody | None = None
    context: RequestContext | None = None


class EncodedRequest(msgspec.Struct):
    """A request ready to be sent: `wire` is its head, and its body if that is bytes."""

    wire: bytes
    body: RequestBody | None
    context: RequestContext | None
    head_only: bool
    """The response will have no body, because the method is HEAD."""
    may_upgrade: bool
    """The request has an `Upgrade` header."""
    retry_safe: bool
    """True if it may be sent again after bytes of it were written: its method is idempotent, and it is no change under
    a condition, or it carries an `Idempotency-Key`; and its body is at hand. How soon the connection ended makes no
    difference: a server may have read the request and acted on it before it closed."""


def encode_request(
    request: UpstreamRequest,
    host: bytes,
    authorization: bytes,
    encode_constant_fields: FieldEncoder = encode_fields,
) -> EncodedRequest:
    """Encode the request for an upstream whose `Host` is `host`.

    `authorization`, unless empty, is sent if the request has no such header. `encode_constant_fields` encodes headers
    in a tuple, which are the same in many requests, so that it may keep what it has encoded. Raises `ErrBadRequest` for
    a method, target or header that HTTP does not allow.
    """
    method, headers, body = request.method, request.headers, request.body
    if authorization and not any(name.lower() == b"authorization" for name, _ in headers):
        headers = [*headers, (b"Authorization", authorization)]
    content, streamed = (body or b"", None) if body is None or isinstance(body, bytes) else (b"", body)
    framing = framing_of(method, content, streamed)
    head = encode_head(method, request.target, host, headers, framing, encode_constant_fields)
    lower = head.lower()
    return EncodedRequest(
        head + content,
        streamed,
        request.context,
        method == b"HEAD",
        b"\nupgrade: " in lower,  # at the beginning of a line, because no value can hold a line break
        streamed is None and _is_retry_safe(method, lower),
    )


def _is_retry_safe(method: bytes, lower: bytes) -> bool:
    if method in IDEMPOTENT and (method not in _CHANGES or _CONDITION.search(lower) is None):
        return True
    return _IDEMPOTENCY_KEY.search(lower) is not None


def framing_of(method: bytes, content: bytes, streamed: RequestBody | None) -> RequestFraming:
    """How the body's end is marked; no body is declared as one of length 0 where the method expects a body."""
    length = len(content) if streamed is None else streamed.length
    if length is None:
        return CHUNKED
    return Length(length) if length or method in _EXPECTS_BODY else NO_BODY


def encode_head(
    method: bytes,
    target: bytes,
    host: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    framing: RequestFraming,
    encode_constant_fields: FieldEncoder = encode_fields,
) -> bytes:
    """The head of a request, blank line included.

    Raises `ErrBadRequest` for a part that would break out of its place: a target that is neither in origin form nor an
    asterisk, a name that is no token, a value with a line break or a NUL in it.
    """
    if method not in IDEMPOTENT and not is_token(method):
        raise ErrBadRequest(f"the method {method[:40]!r} is not one that HTTP allows")
    if not _TARGET.fullmatch(target):
        raise ErrBadRequest(f"the target {target[:200]!r} is not a path with an optional query")
    try:
        fields = encode_constant_fields(headers) if isinstance(headers, tuple) else encode_fields(headers)
    except InvalidFieldError as error:
        if error.part == "name":
            raise ErrBadRequest(f"the header name {error.name[:80]!r} is not one that HTTP allows") from None
        name = error.name.decode("ascii", "replace")
        raise ErrBadRequest(f"the value of header {name} contains a line break or a NUL") from None
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (
        method,
        target,
        host,
        fields,
        b"" if framing is NO_BODY else _encode_framing(framing),
    )


def _encode_framing(framing: Length | Literal[Delimiter.CHUNKED]) -> bytes:
    return b"Transfer-Encoding: chunked\r\n" if framing is CHUNKED else b"Content-Length: %d\r\n" % framing.size
