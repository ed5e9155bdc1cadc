"""The server's side of a WebSocket's opening handshake (RFC 6455, 4.2) as pure code: a head in, a 101 out."""

from __future__ import annotations

import base64
import binascii

from lakehouse.asgi.types import HeaderPairs, ResponseError
from lakehouse.net.http1.fields import is_token
from lakehouse.net.websocket import accept_key
from lakehouse.server.http1.request_head import ProtocolError, RequestHead
from lakehouse.server.http1.response_writer import CONNECTION_HEADERS, encode_headers

# Written by `Handshake` itself; an application that relays another server's 101 must not add its own.
_HANDSHAKE_HEADERS = CONNECTION_HEADERS | {
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
    b"sec-websocket-protocol",
}


class _UnsupportedVersion(ProtocolError):
    def headers(self) -> list[tuple[str, str]]:
        return [("sec-websocket-version", "13")]


class Handshake:
    """A client's handshake: `subprotocols` are those that it offers, in its order of preference."""

    def __init__(self, head: RequestHead) -> None:
        """Raises `ProtocolError` if the handshake is malformed."""
        fields = [pair for pair in head.headers if pair[0].startswith(b"sec-websocket-")]
        if [value for name, value in fields if name == b"sec-websocket-version"] != [b"13"]:
            raise _UnsupportedVersion("the WebSocket version must be 13")
        keys = [value for name, value in fields if name == b"sec-websocket-key"]
        if len(keys) != 1 or not _is_key(keys[0]):
            raise ProtocolError("Sec-WebSocket-Key must be 16 bytes in base64, once")
        self._key = keys[0]
        offers = b",".join(value for name, value in fields if name == b"sec-websocket-protocol")
        self.subprotocols = [_parse_token(offer) for offer in offers.split(b",")] if offers else []

    def accept(self, subprotocol: str | None, headers: HeaderPairs, date: bytes) -> bytes:
        """Encode the 101. Raises `ResponseError` for a header or a subprotocol that cannot be sent."""
        fields = [
            (b"upgrade", b"websocket"),
            (b"connection", b"upgrade"),
            (b"sec-websocket-accept", accept_key(self._key)),
        ]
        if subprotocol is not None:
            if subprotocol not in self.subprotocols:
                raise ResponseError(f"the client did not offer the subprotocol {subprotocol!r}")
            fields.append((b"sec-websocket-protocol", subprotocol.encode()))
        fields += [header for header in headers if header[0].lower() not in _HANDSHAKE_HEADERS]
        return b"HTTP/1.1 101 Switching Protocols\r\n" + encode_headers(fields, "header", date) + b"\r\n"


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False


def _parse_token(offer: bytes) -> str:
    token = offer.strip(b" \t")
    if not is_token(token):
        raise ProtocolError("Sec-WebSocket-Protocol must be a list of tokens")
    return token.decode()
