"""The server's side of HTTP/1.1 as pure code: ASGI's response messages in, bytes out. No I/O.

The framing is decided here alone: whatever the application sends as Transfer-Encoding or Connection, the client gets
exactly one length, and never a complete response that is not the one declared.
"""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus
from typing import Final

import msgspec

from lakehouse.asgi.types import HeaderPairs, ResponseError
from lakehouse.core.errors import LakehouseError
from lakehouse.net.http1.fields import InvalidFieldError, encode_fields
from lakehouse.net.http1.framing import CHUNKED, LAST_CHUNK, NO_BODY, UNTIL_CLOSE, Framing, Length, chunk_pieces
from lakehouse.server.http1.request_head import RequestHead

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"")) for status in range(200, 600)}

CONNECTION_HEADERS = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Names that declare a message's framing or its connection's life; `ResponseWriter.start` writes them itself."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class State(IntEnum):
    """Progress of a response. `start` leads to STARTED, the first `body` to BODY, the last message to COMPLETE."""

    IDLE = 0
    STARTED = 1
    """Status and headers are known. Nothing is written yet."""
    BODY = 2
    """The head is written, or about to be with the first piece of the body."""
    COMPLETE = 3


# Looking a member up in its class costs five times as much as these.
IDLE: Final = State.IDLE
STARTED: Final = State.STARTED
BODY: Final = State.BODY
COMPLETE: Final = State.COMPLETE


class ResponseWriter:
    """One response. `start` and `body` follow ASGI's messages; `body` gives the bytes to write, in pieces.

    The head is held until the first body message, so that both leave in one write and a lone message gets a
    Content-Length; an empty body message with more to come sends the head by itself. `framing` is None until the head
    is written. `close` is set by the owner, by the application's `Connection: close`, or by a framing that needs it,
    and becomes `Connection: close`.
    """

    __slots__ = (
        "_declared_length",
        "_force_chunked",
        "_headers",
        "_held",
        "_left",
        "_trailers",
        "_with_trailers",
        "body_size",
        "close",
        "framing",
        "request",
        "state",
        "status",
    )

    def __init__(self, request: RequestHead) -> None:
        self.request = request
        self.state: State = IDLE
        self.status = 0
        self.close = not request.keep_alive
        self.framing: Framing | None = None
        self.body_size = 0
        """Bytes of the body so far, without framing; none of a response that has no body."""
        self._headers = b""
        self._declared_length: int | None = None  # by the application
        self._left = 0  # bytes of a declared length that are still to come
        self._held = b""  # the last bytes of a declared length, until the application has sent its last message
        self._force_chunked = False  # the application demands chunks, also for a short body
        self._with_trailers = False
        self._trailers = b""

    @property
    def head_out(self) -> bool:
        """True if the head is written, so that no other response can take this one's place."""
        return self.state >= BODY

    @property
    def ends_with_connection(self) -> bool:
        """True if nothing but the end of the connection marks the end of the body."""
        return self.framing is UNTIL_CLOSE

    def start(self, status: int, headers: HeaderPairs, date: bytes, *, trailers: bool = False) -> None:
        """Take status and headers; `date` is a line of the head. Raises `ResponseError` if they cannot be sent."""
        if self.state is not IDLE:
            raise ResponseError("the response was started before")
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ResponseError(f"{status!r} is no status of a response")
        kept: list[tuple[bytes, bytes]] = []
        self._declared_length = None
        self._force_chunked = False
        for pair in headers:
            lower = pair[0].lower()
            if lower in CONNECTION_HEADERS:
                self._read_connection_header(lower, pair[1])
            else:
                kept.append(pair)
                if lower == b"date":
                    date = b""
        try:
            self._headers = encode_fields(kept) + date
        except InvalidFieldError as error:
            raise _field_error(error, "header") from None
        if self._force_chunked:
            self._declared_length = None
        self._with_trailers = trailers
        if status in (204, 304) or self.request.method == b"HEAD":
            self.framing = NO_BODY
        self.status = status
        self.state = STARTED

    def _read_connection_header(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            if not value.isdigit():
                raise ResponseError(f"{value!r} is no Content-Length")
            length = int(value)
            if self._declared_length not in (None, length):
                raise ResponseError("the response has two different lengths")
            self._declared_length = length
        elif name == b"connection" and b"close" in value.lower():
            self.close = True
        elif name == b"transfer-encoding":
            self._force_chunked = True

    def body(self, data: bytes, more: bool) -> list[bytes]:
        """Take a piece of the body: the bytes to write now. The last piece completes the response.

        Raises `ResponseError` when the body is not as long as declared. Nothing of that piece is written, so the
        response stays incomplete, and the owner of the connection must cut it.
        """
        state = self.state
        if state is IDLE or state is COMPLETE:
            raise ResponseError("a body before the response's start" if state is IDLE else "the response is complete")
        out: list[bytes] = [] if state is BODY else self._encode_head(len(data), more)
        self.state = BODY
        framing = self.framing
        if framing is CHUNKED:
            if data:
                out += chunk_pieces(data)
            if not more and not self._with_trailers:
                out.append(LAST_CHUNK)
        elif framing is UNTIL_CLOSE:
            if data:
                out.append(data)
        elif framing is not NO_BODY:
            self._append_counted(self._left - len(data), out, data, more)
        if framing is not NO_BODY:
            self.body_size += len(data)
        if not more and not self._with_trailers:
            self.state = COMPLETE
        return out

    def _append_counted(self, left: int, out: list[bytes], data: bytes, more: bool) -> None:
        self._left = left
        if left < 0:
            raise ResponseError(f"the body is longer than its Content-Length of {self._declared_length}")
        if not more and left:
            raise ResponseError(f"the body is {left} bytes shorter than its Content-Length of {self._declared_length}")
        if left == 0 and more:
            # Held back: once these are sent, a byte too many could no longer make the response incomplete.
            self._held += data
            return
        if self._held:
            out.append(self._held)
            self._held = b""
        if data:
            out.append(data)

    def trailers(self, headers: HeaderPairs, more: bool) -> list[bytes]:
        """Take ASGI's trailers: the bytes to write now. Trailers of a client without `TE: trailers` are dropped."""
        if not self._with_trailers or self.state is not BODY:
            raise ResponseError("trailers that `http.response.start` did not announce, or out of turn")
        kept: list[tuple[bytes, bytes]] = []
        for name, value in headers:
            if name.lower() in CONNECTION_HEADERS:
                raise ResponseError(f"{name!r} is no name of a trailer")
            kept.append((name, value))
        self._trailers += encode_headers(kept, "trailer")
        if more:
            return []
        self.state = COMPLETE
        if self.framing is not CHUNKED:
            return []
        return [b"0\r\n", self._trailers if self.request.te_trailers else b"", b"\r\n"]

    def _encode_head(self, size: int, more: bool) -> list[bytes]:
        """Decide the framing, now that it is known whether `size` bytes are all of the body, and encode the head."""
        status = self.status
        out = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._headers]
        alone = not more and not self._with_trailers and not self._force_chunked
        declared = self._declared_length
        if declared is None and alone and (size or self.framing is not NO_BODY):
            declared = size  # an empty response to HEAD does not show the size of the response to GET
        if status == 204 or (status == 304 and self._declared_length is None):
            pass  # RFC 9110 section 8.6: no length in a 204, and in a 304 only that of the response it stands for
        elif declared is not None:
            out.append(b"content-length: %d\r\n" % declared)
            self._declared_length = self._left = declared
            if self.framing is None:
                self.framing = Length(declared)
        elif self.framing is not NO_BODY:
            if self.request.version == "1.1":
                self.framing = CHUNKED
                out.append(b"transfer-encoding: chunked\r\n")
            else:
                self.framing = UNTIL_CLOSE
                self.close = True
        if self.close:
            out.append(b"connection: close\r\n")
        elif self.request.version == "1.0":
            out.append(b"connection: keep-alive\r\n")
        out.append(b"\r\n")
        return out


def encode_headers(headers: list[tuple[bytes, bytes]], kind: str, date: bytes = b"") -> bytes:
    """Headers as lines, and the line `date`. Raises `ResponseError` for a name or a value that cannot be sent."""
    try:
        return encode_fields(headers) + date
    except InvalidFieldError as error:
        raise _field_error(error, kind) from None


def _field_error(error: InvalidFieldError, kind: str) -> ResponseError:
    if error.part == "name":
        return ResponseError(f"{error.name!r} is no name of a {kind}")
    return ResponseError(f"the {kind} {error.name!r} holds CR, LF or NUL")


def error_response_bytes(
    error: LakehouseError, date: bytes, request: RequestHead | None = None, extra_headers: HeaderPairs = ()
) -> tuple[ResponseWriter, list[bytes]]:
    """The response by which the connection itself refuses a request, and its bytes. The connection ends with it.

    `extra_headers` are added to it.
    """
    response = ResponseWriter(request or RequestHead(b"GET", b"", "1.1", [], keep_alive=False))
    response.close = True
    extra = [(name.encode(), value.encode()) for name, value in error.headers()]
    response.start(error.status, [(b"content-type", b"application/json"), *extra, *extra_headers], date)
    return response, response.body(msgspec.json.encode(error.document()), more=False)
