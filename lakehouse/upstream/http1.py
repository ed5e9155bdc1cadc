"""HTTP/1.1 as pure code, the client's side: a request's head as bytes, and an answer's bytes as a head and pieces.

llhttp parses in its strict mode, with one exception that RFC 9112 demands (see `ResponseParser`). Nothing here reads,
writes, waits or knows the time. Every limit below protects against an upstream that has gone wrong, not against a user.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from lakehouse.core.errors import ErrBadRequest
from lakehouse.net.http1.fields import Headers, InvalidFieldError, encode_fields, is_token

MAX_HEAD = 64 * 1024
"""Bytes of names and values in one answer, interim answers and trailers included. Node.js allows 16 KiB, curl 300 KiB
and Go 10 MiB; cookies and security policies of real services stay well under 32 KiB."""

MAX_HEADERS = 256
"""Header fields in one answer. hyper and Python's http.client stop at 100, Node.js at 2,000."""

MAX_INTERIM = 16
"""Interim answers (1xx) before the real one. A server sends one or two; Go gave up at five."""

MAX_UNPRODUCTIVE_BYTES = 256 * 1024
"""Bytes in a row that complete neither a head nor a piece of a body: an endless header, chunk extension or trailer."""

_TARGET = re.compile(rb"/[!-~\x80-\xff]*|\*")
_EXPECTS_BODY = frozenset((b"POST", b"PUT", b"PATCH"))
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Methods of which a second sending changes nothing more (RFC 9110, 9.2.2)."""


class RemoteProtocolError(Exception):
    """What came is not an answer that we accept; the text says why, fit to follow "answered"."""


class IncompleteMessage(Exception):
    """The answer broke off before its end."""


def content_length(method: bytes, length: int) -> bytes:
    """The framing line of a body of `length` bytes; none for no body, where the method does not expect one."""
    return b"Content-Length: %d\r\n" % length if length or method in _EXPECTS_BODY else b""


CHUNKED = b"Transfer-Encoding: chunked\r\n"


def request_head(
    method: bytes, target: bytes, host: bytes, headers: Sequence[tuple[bytes, bytes]], framing: bytes
) -> bytes:
    """The head of a request, blank line included. `framing` is `CHUNKED` or what `content_length` gave.

    Raises `ErrBadRequest` if a part would break out of its place: a target that is not origin-form, a name that is no
    token, a value with a line break or a NUL in it.
    """
    if not is_token(method):
        raise ErrBadRequest(f"the method {method[:40]!r} is not one that HTTP allows")
    if not _TARGET.fullmatch(target):
        raise ErrBadRequest(f"the target {target[:200]!r} is not a path with an optional query")
    try:
        fields = encode_fields(headers)
    except InvalidFieldError as error:
        if error.part == "name":
            raise ErrBadRequest(f"the header name {error.name[:80]!r} is not one that HTTP allows") from None
        name = error.name.decode("ascii", "replace")
        raise ErrBadRequest(f"the value of header {name} contains a line break or a NUL") from None
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (method, target, host, fields, framing)


class ResponseParser:
    """One answer, from its first byte to its last: `feed` it bytes, tell it the `end`, `take` the body as it comes.

    `head` becomes true with the final head and `done` with the last byte; `reusable` says whether the connection is
    good for another request then. Interim answers (1xx) are swallowed. After a 101 `upgraded` is true and `leftover`
    holds the bytes behind its head. How bytes are split between calls of `feed` never changes the result.

    `Content-Length` beside `Transfer-Encoding: chunked` is the one thing that llhttp's strict mode refuses and we take:
    the chunks decide, the length is dropped and the connection not used again (RFC 9112, 6.3). The danger of it is in
    two readers who disagree about one stream; here nobody else reads it.
    """

    __slots__ = (
        "_barren",
        "_fields",
        "_framed",
        "_head_only",
        "_interim",
        "_llhttp",
        "_may_upgrade",
        "_protocol_prefix",
        "_room",
        "begun",
        "done",
        "head",
        "headers",
        "http_version",
        "leftover",
        "parts",
        "reason",
        "reusable",
        "status",
        "trailers",
        "upgraded",
    )

    def __init__(self, *, head_only: bool = False, may_upgrade: bool = False) -> None:
        """`head_only`: the answer to a HEAD request; `may_upgrade`: the request asked for another protocol."""
        self.begun = self.head = self.done = self.reusable = self.upgraded = False
        self.status = 0
        self.http_version = "1.1"
        self.reason = self.leftover = b""
        self._protocol_prefix: bytes | None = b""
        self.headers: Headers = []
        self.trailers: Headers = []
        self.parts: list[bytes] = []
        self._fields = self.headers
        self._framed = False
        self._head_only = head_only
        self._may_upgrade = may_upgrade
        self._room = MAX_HEAD
        self._barren = self._interim = 0
        llhttp = self._llhttp = HttpResponseParser(self)
        llhttp.set_dangerous_leniencies(lenient_chunked_length=True)

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes, which may be overwritten afterwards. Raises `RemoteProtocolError`."""
        if not self._head_only:
            self._feed(data)
            return
        for line in bytes(data).splitlines(keepends=True):  # so as to see what is behind the head
            if self.done:
                self.reusable = False
                return
            self._feed(line)

    def _feed(self, data: bytes | memoryview) -> None:
        if self._protocol_prefix is not None and (data := self._check_opening(data)) == b"":
            return
        try:
            self._llhttp.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.leftover = bytes(data[upgrade.args[0] :])
        except HttpParserError as error:
            if not self.done:
                why = error.__context__  # what one of our own callbacks raised
                raise (
                    why
                    if isinstance(why, RemoteProtocolError)
                    else RemoteProtocolError(f"with what is not HTTP ({error})")
                ) from None
            self.reusable = False  # bytes behind the end: this answer is whole, but the connection is out of step
        if self.parts or self.done:
            self._barren = 0
        else:
            self._barren += len(data)
            if self._barren > MAX_UNPRODUCTIVE_BYTES:
                raise RemoteProtocolError(
                    f"with more than {MAX_UNPRODUCTIVE_BYTES} bytes of head, trailer or chunk extension"
                )

    def end(self, *, clean: bool = True) -> None:
        """The upstream has closed; `clean` is false if anybody could have done that (TLS without its goodbye).

        Raises `IncompleteMessage` unless the answer is whole, which one without any length is exactly now.
        """
        if self.done:
            return
        if not self.head:
            raise IncompleteMessage(
                "closed the connection in the middle of the head" if self.begun else "closed the connection"
            )
        if self._framed or not clean:
            raise IncompleteMessage("closed the connection in the middle of the body")
        self.done = True
        self.reusable = False

    def take(self) -> bytes:
        """The body's bytes that have come since the last call, without chunk framing."""
        parts, self.parts = self.parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def detach(self) -> None:
        """Let go of llhttp, which refers back to us: no garbage is left for the collector's slow rounds."""
        del self._llhttp

    def _check_opening(self, data: bytes | memoryview) -> bytes | memoryview:
        """Refuse RTSP and ICE, which llhttp would take for HTTP; b"" as long as it is too early to say."""
        self.begun = True
        if self._protocol_prefix:
            data = self._protocol_prefix + data
        opening = bytes(data[:5])
        if not b"HTTP/".startswith(opening):
            raise RemoteProtocolError("with what is not HTTP")
        if len(opening) < 5:
            self._protocol_prefix = opening
            return b""
        self._protocol_prefix = None
        return data

    # What llhttp calls, in this order.

    def on_message_begin(self) -> None:
        if self.done:
            raise RemoteProtocolError("twice")

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._room -= len(name) + len(value) + 4  # the colon, the space and the line break
        if self._room < 0:
            raise RemoteProtocolError(f"with more than {MAX_HEAD} bytes of headers")
        self._fields.append((name, value.rstrip(b" \t")))  # llhttp strips the space before a value, not the one after

    def on_headers_complete(self) -> None:
        llhttp = self._llhttp
        status = llhttp.get_status_code()
        if len(self.headers) > MAX_HEADERS:
            raise RemoteProtocolError(f"with more than {MAX_HEADERS} headers")
        if status < 200 and status != 101:
            self._discard_interim(status)
            return
        version = llhttp.get_http_version()
        if version not in ("1.1", "1.0"):
            raise RemoteProtocolError(f"in HTTP/{version}")
        if status == 101 and not (self._may_upgrade and llhttp.should_upgrade()):
            raise RemoteProtocolError("101 (switching protocols) without being asked to, or without saying to which")
        self.status = status
        self.http_version = version
        self.reusable = self._read_framing()
        self.head = True
        self._fields = self.trailers
        if self._head_only:  # its length is that of the answer to a GET: llhttp would wait for a body
            self.done = True
            self.reusable &= self._keeps_alive()

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        if not self.head or self.done:
            return
        if len(self.trailers) > MAX_HEADERS:
            raise RemoteProtocolError(f"with more than {MAX_HEADERS} trailers")
        self.done = True
        self.upgraded = self.status == 101
        self.reusable &= not self.upgraded and self._llhttp.should_keep_alive()

    def _discard_interim(self, status: int) -> None:
        self._interim += 1
        if status < 100:
            raise RemoteProtocolError(f"with status {status}")
        if self._interim > MAX_INTERIM:
            raise RemoteProtocolError(f"with more than {MAX_INTERIM} interim answers")
        self.headers.clear()
        self.reason = b""

    def _read_framing(self) -> bool:
        """Find out whether the body has an end of its own; false if the connection must not be used again."""
        chunked = sized = False
        for name, value in self.headers:
            if len(name) == 17 and name.lower() == b"transfer-encoding":
                if value.lower() != b"chunked" or chunked:  # our requests offer no other (RFC 9112, 7.4)
                    raise RemoteProtocolError("with a transfer coding that was not asked for")
                chunked = True
            elif len(name) == 14 and name.lower() == b"content-length":
                sized = True
        self._framed = chunked or sized
        if chunked and sized:
            self.headers[:] = [header for header in self.headers if header[0].lower() != b"content-length"]
        return not (chunked and sized)

    def _keeps_alive(self) -> bool:
        if self.http_version != "1.1":
            return False
        tokens = b",".join(value for name, value in self.headers if name.lower() == b"connection")
        return b"close" not in [token.strip().lower() for token in tokens.split(b",")]
