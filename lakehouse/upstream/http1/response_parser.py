"""The client's side of HTTP/1.1 as pure code over llhttp: the bytes of a response in, its head and body out.

llhttp parses in its strict mode, with one exception that RFC 9112 demands (see `ResponseParser`). Every limit below
protects against a defective upstream, not against a user.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from lakehouse.net.http1.fields import Headers
from lakehouse.net.http1.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, Framing, Length
from lakehouse.upstream.http1.response_state import BODY, COMPLETE, HEAD, IDLE, TRANSITIONS, Event

MAX_HEAD = 64 * 1024
"""Bytes of names and values in one response, interim responses and trailers included. Node.js allows 16 KiB, curl
300 KiB and Go 10 MiB; cookies and security policies of real services stay well under 32 KiB."""

MAX_HEADERS = 256
"""Header fields in one response. hyper and Python's http.client stop at 100, Node.js at 2,000."""

MAX_INTERIM = 16
"""Interim responses (1xx) before the final one. A server sends one or two; Go gave up at five."""

MAX_UNPRODUCTIVE_BYTES = 256 * 1024
"""Bytes in a row that complete neither a head nor a piece of a body: an endless header, chunk extension or trailer."""

_PROTOCOL = b"HTTP/"


class RemoteProtocolError(Exception):
    """The bytes are not a response that is accepted; the text completes the sentence "<upstream> answered ..."."""


class IncompleteMessage(Exception):
    """The response broke off before its end."""


_ON_FIRST_BYTE = TRANSITIONS[Event.FIRST_BYTE]
_ON_FINAL_HEAD = TRANSITIONS[Event.FINAL_HEAD]
_ON_LAST_BYTE = TRANSITIONS[Event.LAST_BYTE]
_ON_SWITCHED = TRANSITIONS[Event.SWITCHED]
_ON_CONNECTION_CLOSED = TRANSITIONS[Event.CONNECTION_CLOSED]


class ResponseParser:
    """One response, from its first byte to its last: `feed` it bytes, `end` it, `take` the body.

    `status`, `reason`, `headers` and `framing` are set from state BODY on, `reusable` from state COMPLETE on: whether
    the connection can be used for another request. Interim responses (1xx) are dropped. In state UPGRADED `leftover`
    holds the bytes behind the head. How bytes are split between calls of `feed` never changes the result.

    `Content-Length` beside `Transfer-Encoding: chunked`, which llhttp's strict mode refuses, is accepted: the chunks
    decide, the length is dropped and the connection not used again (RFC 9112, 6.3). It is dangerous where two readers
    interpret one stream differently; an upstream's response has one reader.
    """

    __slots__ = (
        "_fields",
        "_head_only",
        "_interim",
        "_llhttp",
        "_may_upgrade",
        "_prefix",
        "_room",
        "_unproductive",
        "framing",
        "headers",
        "http_version",
        "leftover",
        "parts",
        "reason",
        "reusable",
        "state",
        "status",
        "trailers",
    )

    def __init__(self, *, head_only: bool = False, may_upgrade: bool = False) -> None:
        """`head_only`: the response to a HEAD request; `may_upgrade`: the request asked for another protocol."""
        self.state = IDLE
        self.reusable = False
        self.status = 0
        self.http_version = "1.1"
        self.reason = self.leftover = b""
        self.framing: Framing = NO_BODY
        self.headers: Headers = []
        self.trailers: Headers = []
        self.parts: list[bytes] = []
        self._fields = self.headers  # where the next field goes
        self._prefix: bytes | None = b""  # the first bytes, until they are `_PROTOCOL`
        self._head_only = head_only
        self._may_upgrade = may_upgrade
        self._room = MAX_HEAD
        self._unproductive = self._interim = 0
        llhttp = self._llhttp = HttpResponseParser(self)
        llhttp.set_dangerous_leniencies(lenient_chunked_length=True)

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes; their buffer may be overwritten afterwards. Raises `RemoteProtocolError`."""
        if not self._head_only:
            self._feed(data)
            return
        for line in bytes(data).splitlines(keepends=True):  # to notice bytes behind the head
            if self.state >= COMPLETE:
                self.reusable = False
                return
            self._feed(line)

    def _feed(self, data: bytes | memoryview) -> None:
        if self._prefix is not None and (data := self._check_prefix(data)) == b"":
            return
        try:
            self._llhttp.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.leftover = bytes(data[upgrade.args[0] :])
        except HttpParserError as error:
            self._handle_error(error)
        if self.parts or self.state >= COMPLETE:
            self._unproductive = 0
            return
        self._unproductive += len(data)
        if self._unproductive > MAX_UNPRODUCTIVE_BYTES:
            raise RemoteProtocolError(
                f"with more than {MAX_UNPRODUCTIVE_BYTES} bytes of head, trailer or chunk extension"
            )

    def end(self, *, clean: bool = True) -> None:
        """The upstream has closed; `clean` is false for TLS without a close notification, which an attacker can forge.

        Raises `IncompleteMessage` unless the response is complete; one without any length is complete now.
        """
        if self.state >= COMPLETE:
            return
        if self.state is IDLE:
            raise IncompleteMessage("closed the connection")
        if self.state is HEAD:
            raise IncompleteMessage("closed the connection in the middle of the head")
        if self.framing is not UNTIL_CLOSE or not clean:
            raise IncompleteMessage("closed the connection in the middle of the body")
        self.state = _ON_CONNECTION_CLOSED[self.state]
        self.reusable = False

    def take(self) -> bytes:
        """The bytes of the body since the last call, without chunk framing."""
        parts, self.parts = self.parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def detach(self) -> None:
        """Release llhttp, which refers back to the parser, so that no reference cycle is left to the collector."""
        del self._llhttp

    def _check_prefix(self, data: bytes | memoryview) -> bytes | memoryview:
        """Refuse RTSP and ICE, which llhttp would accept; b"" while fewer bytes than `_PROTOCOL` have arrived."""
        if self.state is IDLE:
            self.state = _ON_FIRST_BYTE[IDLE]
        elif self._prefix:
            data = self._prefix + data
        prefix = bytes(data[: len(_PROTOCOL)])
        if not _PROTOCOL.startswith(prefix):
            raise RemoteProtocolError("with bytes that are not HTTP")
        if len(prefix) < len(_PROTOCOL):
            self._prefix = prefix
            return b""
        self._prefix = None
        return data

    def _handle_error(self, error: HttpParserError) -> None:
        if self.state >= COMPLETE:
            self.reusable = False  # bytes behind the end: the response is complete, the connection out of step
            return
        cause = error.__context__  # raised by one of the callbacks below
        if cause is not None:
            raise cause from None
        raise RemoteProtocolError(f"with bytes that are not HTTP ({error})") from None

    # llhttp's callbacks, in the order in which it calls them.

    def on_message_begin(self) -> None:
        if self.state >= COMPLETE:
            raise RemoteProtocolError("with a second response to one request")

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
        self.reusable = True
        self.framing = self._read_framing()
        self.state = _ON_FINAL_HEAD[self.state]
        self._fields = self.trailers
        if self._head_only:  # llhttp would wait for the body that the length declares
            self.state = _ON_LAST_BYTE[self.state]
            self.reusable &= self._keeps_alive()

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)

    def on_message_complete(self) -> None:
        if self.state is not BODY:
            return  # of an interim response, or of a HEAD request
        if len(self.trailers) > MAX_HEADERS:
            raise RemoteProtocolError(f"with more than {MAX_HEADERS} trailers")
        if self.status == 101:
            self.state = _ON_SWITCHED[self.state]
            self.reusable = False
        else:
            self.state = _ON_LAST_BYTE[self.state]
            self.reusable &= self._llhttp.should_keep_alive()

    def _discard_interim(self, status: int) -> None:
        self._interim += 1
        if status < 100:
            raise RemoteProtocolError(f"with status {status}")
        if self._interim > MAX_INTERIM:
            raise RemoteProtocolError(f"with more than {MAX_INTERIM} interim responses")
        self.headers.clear()
        self.reason = b""

    def _read_framing(self) -> Framing:
        """How the body ends. A length beside chunks is dropped, and makes the connection unfit for another request."""
        chunked, length = False, None
        for name, value in self.headers:
            if len(name) == 17 and name.lower() == b"transfer-encoding":
                if value.lower() != b"chunked" or chunked:  # our requests accept no other coding (RFC 9112, 7.4)
                    raise RemoteProtocolError("with a transfer coding that the request does not accept")
                chunked = True
            elif len(name) == 14 and name.lower() == b"content-length":
                length = value
        if not chunked:
            return UNTIL_CLOSE if length is None else Length(int(length))
        if length is not None:
            self.headers[:] = [header for header in self.headers if header[0].lower() != b"content-length"]
            self.reusable = False
        return CHUNKED

    def _keeps_alive(self) -> bool:
        if self.http_version != "1.1":
            return False
        tokens = b",".join(value for name, value in self.headers if name.lower() == b"connection")
        return b"close" not in [token.strip().lower() for token in tokens.split(b",")]
