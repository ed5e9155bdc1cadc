"""The response side of HTTP/1.1 as pure code: what the application says in, bytes out. No I/O.

The framing is ours alone: whatever the application says about Transfer-Encoding or Connection, the client gets exactly
one length, and never a complete response that is not the one declared.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from lakehouse.asgi.types import HeaderPairs, ResponseError
from lakehouse.core.errors import LakehouseError
from lakehouse.net.http1.fields import InvalidFieldError, encode_fields
from lakehouse.net.http1.framing import LAST_CHUNK
from lakehouse.server.request_head import RequestHead

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"")) for status in range(200, 600)}

# Names that say how a message is framed or how long the connection lives; `start` writes them itself.
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

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ResponseWriter:
    """One response. `start` and `body` follow ASGI's messages; `body` gives the bytes to write, in pieces.

    The head is held until the first body message, so that both leave in one write and a lone message gets a
    Content-Length; an empty body message with more to come sends the head by itself. `close` is set by the owner, or
    here when the application asks for it or the framing needs it, and becomes `Connection: close`.
    """

    __slots__ = (
        "_declared_length",
        "_force_chunked",
        "_headers",
        "_held",
        "_left",
        "_no_body",
        "_trailers",
        "_with_trailers",
        "chunked",
        "close",
        "complete",
        "head_out",
        "request",
        "status",
    )

    def __init__(self, request: RequestHead) -> None:
        self.request = request
        self.status = 0
        self.close = not request.keep_alive
        self.head_out = False
        self.complete = False
        self._headers = b""
        self._declared_length: int | None = None  # the Content-Length the application gave
        self._left: int | None = None  # bytes of it still to come; None: not counted
        self._held = b""  # the last bytes of a counted body, until the application says that they are the last
        self._no_body = False
        self._force_chunked = False  # the application wants chunks, however little there is
        self.chunked = False
        self._with_trailers = False
        self._trailers = b""

    @property
    def until_close(self) -> bool:
        """Whether nothing but the connection's end marks the end of the body."""
        return self.head_out and not self.chunked and self._left is None and not self._no_body

    def start(self, status: int, headers: HeaderPairs, date: bytes, *, trailers: bool = False) -> None:
        """Take status and headers. Raises `ResponseError` when they could not be sent as they were meant."""
        if self.status:
            raise ResponseError("the response was started before")
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ResponseError(f"{status!r} is no status of a response")
        kept: list[tuple[bytes, bytes]] = []
        self._declared_length = None
        coded = False
        for pair in headers:
            lower = pair[0].lower()
            if lower in CONNECTION_HEADERS:
                coded = self._take(lower, pair[1]) or coded
            else:
                kept.append(pair)
                if lower == b"date":
                    date = b""
        self._headers = encode_headers(kept, "header", date)
        if coded:
            self._declared_length = None
        self._force_chunked = coded
        self._with_trailers = trailers
        self._no_body = status in (204, 304) or self.request.method == b"HEAD"
        self.status = status

    def _take(self, name: bytes, value: bytes) -> bool:
        """A header that is ours to write: learn from it. True when it says that the length is not the declared one."""
        if name == b"content-length":
            if not value.isdigit():
                raise ResponseError(f"{value!r} is no Content-Length")
            length = int(value)
            if self._declared_length not in (None, length):
                raise ResponseError("the response has two different lengths")
            self._declared_length = length
        elif name == b"connection" and b"close" in value.lower():
            self.close = True
        return name == b"transfer-encoding"

    def body(self, data: bytes, more: bool) -> list[bytes]:
        """Take some body. Gives what is to be written now, and sets `complete` with the last of it.

        Raises `ResponseError` when the body is not as long as declared. Nothing of the piece at fault is written, so
        the response stays incomplete, and whoever owns the connection cuts it.
        """
        if not self.status or self.complete:
            raise ResponseError("a body before the response's start" if not self.status else "the response is complete")
        out: list[bytes] = [] if self.head_out else self._head(len(data), more)
        self.head_out = True
        if self._no_body:
            pass
        elif self.chunked:
            if data:
                out += (b"%x\r\n" % len(data), data, b"\r\n")
            if not more and not self._with_trailers:
                out.append(LAST_CHUNK)
        elif self._left is not None:
            self._count(self._left - len(data), out, data, more)
        elif data:
            out.append(data)
        self.complete = not more and not self._with_trailers
        return out

    def _count(self, left: int, out: list[bytes], data: bytes, more: bool) -> None:
        self._left = left
        if left < 0:
            raise ResponseError(f"the body is longer than its Content-Length of {self._declared_length}")
        if not more and left:
            raise ResponseError(f"the body is {left} bytes shorter than its Content-Length of {self._declared_length}")
        if left == 0 and more:
            # Were these sent now, a byte too many could no longer make the response incomplete.
            self._held += data
            return
        if self._held:
            out.append(self._held)
            self._held = b""
        if data:
            out.append(data)

    def trailers(self, headers: HeaderPairs, more: bool) -> list[bytes]:
        """Take ASGI's trailers; they are written when the client said `TE: trailers`, and dropped otherwise."""
        if not self._with_trailers or not self.head_out or self.complete:
            raise ResponseError("trailers that `http.response.start` did not announce, or out of turn")
        kept: list[tuple[bytes, bytes]] = []
        for name, value in headers:
            if name.lower() in CONNECTION_HEADERS:
                raise ResponseError(f"{name!r} is no name of a trailer")
            kept.append((name, value))
        self._trailers += encode_headers(kept, "trailer")
        if more:
            return []
        self.complete = True
        if not self.chunked:
            return []
        return [b"0\r\n", self._trailers if self.request.te_trailers else b"", b"\r\n"]

    def _head(self, size: int, more: bool) -> list[bytes]:
        """The head, now that it is known whether `size` bytes are all of the body."""
        status = self.status
        out = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._headers]
        declared = self._declared_length
        alone = not more and not self._with_trailers and not self._force_chunked
        if declared is None and alone and (size or not self._no_body):
            declared = size  # an empty answer to HEAD says nothing about the size of the answer to GET
        if status == 204 or (status == 304 and self._declared_length is None):
            pass  # RFC 9110 section 8.6: no length in a 204, and in a 304 only that of the answer it stands for
        elif declared is not None:
            out.append(b"content-length: %d\r\n" % declared)
            self._declared_length = self._left = declared
        elif not self._no_body:
            if self.request.version == "1.1":
                self.chunked = True
                out.append(b"transfer-encoding: chunked\r\n")
            else:
                self.close = True  # the end of the connection is the end of the body
        if self.close:
            out.append(b"connection: close\r\n")
        elif self.request.version == "1.0":
            out.append(b"connection: keep-alive\r\n")
        out.append(b"\r\n")
        return out


def encode_headers(headers: list[tuple[bytes, bytes]], kind: str, date: bytes = b"") -> bytes:
    """Headers as lines, and the line `date`, all in one.

    Raises `ResponseError` for a name that is none, and for any CR, LF or NUL but the ends of the lines.
    """
    try:
        return encode_fields(headers) + date
    except InvalidFieldError as error:
        if error.part == "name":
            raise ResponseError(f"{error.name!r} is no name of a {kind}") from None
        raise ResponseError(f"the {kind} {error.name!r} holds CR, LF or NUL") from None


def error_response_bytes(
    error: LakehouseError, date: bytes, request: RequestHead | None = None, marks: HeaderPairs = ()
) -> tuple[ResponseWriter, list[bytes]]:
    """The response by which the connection itself refuses a request, and its bytes; the connection ends with it.

    `marks` are further headers of it.
    """
    response = ResponseWriter(request or RequestHead(b"GET", b"", "1.1", [], keep_alive=False))
    response.close = True
    extra = [(name.encode(), value.encode()) for name, value in error.headers()]
    response.start(error.status, [(b"content-type", b"application/json"), *extra, *marks], date)
    return response, response.body(msgspec.json.encode(error.document()), more=False)
