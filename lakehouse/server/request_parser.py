"""The request side of HTTP/1.1 as pure code over llhttp: bytes in, request events out. No I/O.

llhttp (of Node.js) runs in its strict mode, which refuses what request smuggling is made of: Content-Length beside
Transfer-Encoding, a repeated or malformed length, folded lines, bare CR or LF, whitespace before a colon, control
characters, a final coding other than `chunked`. This module adds limits and the upgrades that we ignore, `head` our
rules for what a head may say.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final, Literal

import httptools

from lakehouse.server.limits import Limits
from lakehouse.server.request_head import Headers, ProtocolError, RequestHead, validate_head


class _End(Enum):
    END = "end"


END: Final = _End.END
"""The event after a request's last body byte; trailers were counted and dropped, for ASGI has no place for them."""


Event = RequestHead | bytes | Literal[_End.END]
"""A request is a `RequestHead`, its body in pieces, and `END`."""


class RequestParser:
    """One connection's requests, pipelined or not, in events.

    `feed` takes bytes as they arrive and raises nothing; `next_event` gives what they made, in order, and raises
    `ProtocolError` at the place where they stopped being HTTP. How the bytes were split makes no difference, except
    that a head which is too large may be refused before it is complete.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._events: deque[Event | ProtocolError] = deque()
        self._llhttp = httptools.HttpRequestParser(self)
        self._stopped = False  # after an error or a WebSocket upgrade: bytes are no longer ours to parse
        self._rest: bytes | None = None  # those behind a WebSocket upgrade
        self._head: RequestHead | None = None  # the last head, while its body is under way
        self._replaying = False
        self.in_head = False
        """Whether a part of a head has arrived, and not all of it."""
        self._target = b""
        self._headers: Headers = []
        self._fed = 0  # bytes of the present call of `feed`
        self._spent = 0  # bytes since the last message's end, those of the call in which it ended included
        self._shared = 0  # how many of them that call had; they may belong to the message before
        self._overhead = 0  # of a chunked body, beyond what its data excuses

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection. After an error they are dropped; after an upgrade, kept."""
        while data and not self._stopped:
            data = self._parse(data)
        if self._rest is not None:
            self._rest += data

    def _parse(self, data: bytes) -> bytes:
        """Parse up to the end or an upgrade; gives what is behind that."""
        self._fed = len(data)
        self._spent += self._fed
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade()
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self._refuse(error)
        else:
            self._check_unfinished()
        return b""

    def next_event(self) -> Event | None:
        """The next event, or None until more bytes are fed. Raises `ProtocolError`, and then again each time."""
        if not self._events:
            return None
        event = self._events[0]
        if isinstance(event, ProtocolError):
            raise event
        self._events.popleft()
        return event

    def take_head(self) -> RequestHead:
        """The next event where it can only be a head, or what `next_event` raises."""
        event = self._events.popleft() if self._events and type(self._events[0]) is RequestHead else self.next_event()
        if not isinstance(event, RequestHead):
            raise TypeError(f"a head was expected where {event!r} is")  # a defect of ours, not of the client
        return event

    @property
    def empty(self) -> bool:
        """Whether no event is waiting."""
        return not self._events

    @property
    def request_complete(self) -> bool:
        """Whether the last request whose head was seen has arrived to its end."""
        return self._head is None

    def take_body(self) -> tuple[bytes, bool]:
        """All body bytes that are waiting, and whether they are the last. Raises `ProtocolError` when none are left."""
        events = self._events
        if events and events[0] is END:  # of most requests it is all there is
            events.popleft()
            return b"", True
        parts: list[bytes] = []
        while events:
            event = events[0]
            if isinstance(event, bytes):
                parts.append(event)
            elif event is END:
                events.popleft()
                return b"".join(parts), True
            elif parts:
                break
            else:
                self.next_event()
            events.popleft()
        return b"".join(parts), False

    @property
    def latest_headers(self) -> Headers:
        """The headers of the last head, as far as they have arrived."""
        return self._headers

    def trailing_data(self) -> bytes:
        """The bytes right behind a WebSocket upgrade, which are no HTTP."""
        rest, self._rest = self._rest, b""
        return rest or b""

    # llhttp's callbacks. What they raise stops llhttp; `_refuse` finds it again.

    def on_message_begin(self) -> None:
        self.in_head = True
        self._target = b""
        self._headers = []

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self._replaying:
            return
        llhttp = self._llhttp
        headers = self._headers
        head = RequestHead(
            llhttp.get_method(), self._target, llhttp.get_http_version(), headers, llhttp.should_keep_alive()
        )
        self._check_size(head)
        validate_head(head, upgrades=llhttp.should_upgrade())
        self._head = head
        self._events.append(head)
        self._overhead = -self._fed  # counted from the next call on: where in this one the head ends is not known

    def on_body(self, data: bytes) -> None:
        self._overhead -= 2 * len(data) + 16
        self._events.append(data)

    def on_message_complete(self) -> None:
        head = self._head
        if head is None or self._llhttp.should_upgrade():
            return  # of an upgrade, where `_after_upgrade` knows more
        self._finish()

    def _finish(self) -> None:
        self._events.append(END)
        self._head = None
        self._spent = self._shared = self._fed

    # Our own rules.

    def _check_size(self, head: RequestHead) -> None:
        limits = self._limits
        if len(head.target) > limits.target_bytes:
            raise ProtocolError(f"the request target is longer than {limits.target_bytes} bytes", 414)
        if len(head.headers) > limits.headers:
            raise ProtocolError(f"the request has more than {limits.headers} headers", 431)
        if self._spent > limits.head_bytes:
            size = len(head.target) + sum(len(name) + len(value) + 4 for name, value in head.headers)
            if size > limits.head_bytes:
                raise ProtocolError(f"the request's head is larger than {limits.head_bytes} bytes", 431)

    def _check_unfinished(self) -> None:
        """After bytes that completed nothing: heads, extensions and trailers must not grow without end."""
        head, limits = self._head, self._limits
        if head is None:
            if self._spent - self._shared > limits.head_bytes or len(self._headers) > limits.headers:
                self._stop(ProtocolError("the request's head is too large", 431))
            elif len(self._target) > limits.target_bytes:
                self._stop(ProtocolError(f"the request target is longer than {limits.target_bytes} bytes", 414))
        elif head.length is None:
            self._overhead = max(0, self._overhead + self._fed)
            if self._overhead > limits.chunk_overhead:
                self._stop(ProtocolError("the chunk extensions or trailers are too large"))

    def _after_upgrade(self) -> None:
        """llhttp pauses behind any head that asks for an upgrade; only WebSocket's is granted."""
        head = self._head
        if head is None:
            raise TypeError("an upgrade without a head")  # a defect of ours: llhttp pauses behind heads only
        if head.length == 0:
            self._finish()
        else:
            self._replay(head)
        if head.websocket:
            self._stopped = True
            self._rest = b""

    def _replay(self, head: RequestHead) -> None:
        """Tell llhttp the head again without the upgrade, for it has skipped the body, whose bytes come next."""
        framing = b"transfer-encoding: chunked" if head.length is None else b"content-length: %d" % head.length
        self._replaying = True
        self._llhttp.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
        self._replaying = False

    def _refuse(self, error: httptools.HttpParserError) -> None:
        reason = str(error)
        cause = error.__context__
        if isinstance(cause, ProtocolError):
            self._stop(cause)
        elif reason == "Pause on PRI/Upgrade":
            self._stop(ProtocolError("HTTP/2 is not spoken here, HTTP/1.1 is", 505))
        elif reason == "Invalid HTTP version":
            self._stop(ProtocolError("this version of HTTP is not spoken here, HTTP/1.1 is", 505))
        else:
            self._stop(ProtocolError(f"malformed request: {reason}"))

    def _stop(self, error: ProtocolError) -> None:
        self._events.append(error)
        self._stopped = True
