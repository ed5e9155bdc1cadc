"""WebSocket's opening handshake (RFC 6455, section 4.2) as pure code: a head in, a 101 out."""

from __future__ import annotations

import base64
import binascii
import hashlib

from lakehouse.asgi.types import TOKEN_BYTES, ResponseError
from lakehouse.server.request_head import ProtocolError, RequestHead
from lakehouse.server.response_writer import CONNECTION_HEADERS, HeaderPairs, encode_headers

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# The handshake's own answer; an application that relays another server's must not pass these on.
_OURS = CONNECTION_HEADERS | {b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol"}


class _WrongVersion(ProtocolError):
    def headers(self) -> list[tuple[str, str]]:
        return [("sec-websocket-version", "13")]


class Handshake:
    """What a client asked for: `subprotocols` in its order of preference. Raises `ProtocolError` when malformed."""

    def __init__(self, head: RequestHead) -> None:
        fields = [pair for pair in head.headers if pair[0].startswith(b"sec-websocket-")]
        if [value for name, value in fields if name == b"sec-websocket-version"] != [b"13"]:
            raise _WrongVersion("the WebSocket version spoken here is 13")
        keys = [value for name, value in fields if name == b"sec-websocket-key"]
        if len(keys) != 1 or not _is_key(keys[0]):
            raise ProtocolError("Sec-WebSocket-Key must be 16 bytes in base64, once")
        self._key = keys[0]
        offers = b",".join(value for name, value in fields if name == b"sec-websocket-protocol")
        self.subprotocols = [_token(offer) for offer in offers.split(b",")] if offers else []

    def accept(self, subprotocol: str | None, headers: HeaderPairs, date: bytes) -> bytes:
        """The 101. Raises `ResponseError` when a header or the subprotocol cannot be sent."""
        digest = base64.b64encode(hashlib.sha1(self._key + _GUID, usedforsecurity=False).digest())
        ours = [(b"upgrade", b"websocket"), (b"connection", b"upgrade"), (b"sec-websocket-accept", digest)]
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ResponseError(f"the client did not offer the subprotocol {subprotocol!r}")
            ours.append((b"sec-websocket-protocol", subprotocol.encode()))
        ours += [header for header in headers if header[0].lower() not in _OURS]
        return b"HTTP/1.1 101 Switching Protocols\r\n" + encode_headers(ours, "header", date) + b"\r\n"


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def _token(offer: bytes) -> str:
    token = offer.strip(b" \t")
    if not token or token.translate(None, TOKEN_BYTES):
        raise ProtocolError("Sec-WebSocket-Protocol holds what is no token")
    return token.decode()
