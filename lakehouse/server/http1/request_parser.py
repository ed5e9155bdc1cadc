"""The server's side of HTTP/1.1 as pure code over llhttp: bytes in, request events out. No I/O.

llhttp (of Node.js) runs in its strict mode, which refuses the ingredients of request smuggling: Content-Length beside
Transfer-Encoding, a repeated or malformed length, folded lines, bare CR or LF, whitespace before a colon, control
characters, a final coding other than `chunked`. This module adds the states, `size_guard` the limits, and
`request_head` the rules for a head's contents.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, IntEnum
from typing import Final, Literal

import httptools

from lakehouse.net.http1.fields import Headers
from lakehouse.net.http1.framing import CHUNKED, NO_BODY, Length
from lakehouse.server.http1.request_head import ProtocolError, RequestHead, validate_head
from lakehouse.server.http1.size_guard import SizeGuard
from lakehouse.server.limits import ServerLimits


class _End(Enum):
    END = "end"


END: Final = _End.END
"""The event after a request's last body byte. Trailers are counted and dropped, because ASGI has no place for them."""


Event = RequestHead | bytes | Literal[_End.END]
"""A request is a `RequestHead`, its body in pieces, and `END`."""


class State(IntEnum):  # integers, because other members are hashed by a Python function
    """What the next byte belongs to."""

    IDLE = 0
    """The first head, or the next one."""
    HEAD = 1
    """A head of which a part has arrived."""
    BODY = 2
    """The body of the last head, or the end of its message."""
    REPLAY = 3
    """A copy of the last head without its upgrade, fed by `_replay`."""
    UPGRADED = 4
    """Another protocol: the bytes are kept for `trailing_data`."""
    FAILED = 5
    """A connection that is about to end: the bytes are dropped."""


class Transition(Enum):
    """What moves the parser to its next state."""

    MESSAGE_BEGIN = "llhttp has seen the first byte of a head"
    HEAD_COMPLETE = "llhttp has seen the end of a head"
    MESSAGE_COMPLETE = "llhttp has seen the last byte of a message"
    UPGRADE_IGNORED = "llhttp has skipped a body because the head requests an upgrade"
    UPGRADE_GRANTED = "a WebSocket's head is complete"
    ERROR = "llhttp, or one of our rules, has refused the bytes"


TRANSITIONS: Final[dict[Transition, dict[State, State]]] = {
    Transition.MESSAGE_BEGIN: {State.IDLE: State.HEAD, State.REPLAY: State.REPLAY},
    Transition.HEAD_COMPLETE: {State.HEAD: State.BODY, State.REPLAY: State.BODY},
    Transition.MESSAGE_COMPLETE: {State.BODY: State.IDLE},
    Transition.UPGRADE_IGNORED: {State.BODY: State.REPLAY},
    Transition.UPGRADE_GRANTED: {State.IDLE: State.UPGRADED},
    Transition.ERROR: dict.fromkeys((State.IDLE, State.HEAD, State.BODY, State.REPLAY), State.FAILED),
}
"""The transitions; any other is a `KeyError`, and a defect of the parser."""

# Looking a member up in its class costs five times as much as these.
_HEAD: Final = State.HEAD
_REPLAY: Final = State.REPLAY
_ON_MESSAGE_BEGIN = TRANSITIONS[Transition.MESSAGE_BEGIN]
_ON_HEAD_COMPLETE = TRANSITIONS[Transition.HEAD_COMPLETE]
_ON_MESSAGE_COMPLETE = TRANSITIONS[Transition.MESSAGE_COMPLETE]
_UPGRADED: Final = State.UPGRADED
_STOPPED = (State.UPGRADED, State.FAILED)


class RequestParser:
    """The requests of one connection, pipelined or not, as events.

    `feed` takes bytes as they arrive and raises nothing; `next_event` gives the events in order, and raises
    `ProtocolError` at the place where the bytes stopped being HTTP. How the bytes were split makes no difference,
    except that a head which is too large may be refused before it is complete.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._state = State.IDLE
        self._events: deque[Event | ProtocolError] = deque()
        self._llhttp = httptools.HttpRequestParser(self)
        self._sizes = SizeGuard(limits)
        self._head: RequestHead | None = None  # the last head, until its message is complete
        self._target = b""
        self._headers: Headers = []
        self._trailing = b""  # the bytes behind a WebSocket's head

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection. After an error they are dropped; after an upgrade, kept."""
        while data and self._state not in _STOPPED:
            data = self._parse(data)
        if self._state is _UPGRADED:
            self._trailing += data

    def _parse(self, data: bytes) -> bytes:
        """Parse up to the end or an upgrade: the bytes behind that. Bytes that complete nothing are bounded here."""
        self._sizes.count_feed(len(data))
        try:
            self._llhttp.feed_data(data)
            if self._head is None:
                self._sizes.check_partial_head(self._target, self._headers)
            elif self._head.framing is CHUNKED:
                self._sizes.check_chunked_body()
        except httptools.HttpParserUpgrade as upgrade:
            self._handle_upgrade()
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self._fail(_translate_error(error))
        except ProtocolError as error:
            self._fail(error)
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
        """The next event where it can only be a head. Raises what `next_event` raises."""
        event = self._events.popleft() if self._events and type(self._events[0]) is RequestHead else self.next_event()
        if not isinstance(event, RequestHead):
            raise TypeError(f"expected a request head, got {event!r}")  # a defect of the server, not of the client
        return event

    def take_body(self) -> tuple[bytes, bool]:
        """All body bytes that have arrived, and whether they are the last.

        Raises `ProtocolError` when there are none before the place where the bytes stopped being HTTP.
        """
        events = self._events
        if events and events[0] is END:  # the usual case: a request without a body
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
    def empty(self) -> bool:
        """True if no event is waiting."""
        return not self._events

    @property
    def in_head(self) -> bool:
        """True if a part of a head has arrived, and not all of it."""
        return self._state is _HEAD

    @property
    def request_complete(self) -> bool:
        """True if the last request whose head has arrived has arrived to its end."""
        return self._head is None

    @property
    def latest_headers(self) -> Headers:
        """The headers of the last head, as far as they have arrived."""
        return self._headers

    def trailing_data(self) -> bytes:
        """The bytes behind a WebSocket's head, which are no HTTP."""
        trailing, self._trailing = self._trailing, b""
        return trailing

    # llhttp's callbacks. An exception stops llhttp, and `_translate_error` finds it in llhttp's own.

    def on_message_begin(self) -> None:
        self._state = _ON_MESSAGE_BEGIN[self._state]
        self._target = b""
        self._headers = []

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:  # else it is a trailer, or a header of a replayed head
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        replayed = self._state is _REPLAY
        self._state = _ON_HEAD_COMPLETE[self._state]
        if replayed:
            return
        llhttp = self._llhttp
        head = RequestHead(
            llhttp.get_method(), self._target, llhttp.get_http_version(), self._headers, llhttp.should_keep_alive()
        )
        self._sizes.check_head(head)
        validate_head(head, upgrades=llhttp.should_upgrade())
        self._head = head
        self._events.append(head)

    def on_body(self, data: bytes) -> None:
        self._sizes.count_data(len(data))
        self._events.append(data)

    def on_message_complete(self) -> None:
        if self._head is None or self._llhttp.should_upgrade():
            return  # with an upgrade, `_handle_upgrade` decides whether the message is complete
        self._complete_message()

    def _complete_message(self) -> None:
        self._state = _ON_MESSAGE_COMPLETE[self._state]
        self._events.append(END)
        self._head = None
        self._sizes.end_message()

    def _handle_upgrade(self) -> None:
        """llhttp has paused behind a head that requests an upgrade. Only WebSocket's is granted."""
        head = self._head
        if head is None:
            raise TypeError("llhttp paused for an upgrade without a head")  # a defect of the server
        if head.framing is NO_BODY:
            self._complete_message()
        else:
            self._replay(head)
        if head.websocket:
            self._state = TRANSITIONS[Transition.UPGRADE_GRANTED][self._state]

    def _replay(self, head: RequestHead) -> None:
        """Feed llhttp the head again without the upgrade, because it has skipped the body, whose bytes come next."""
        self._state = TRANSITIONS[Transition.UPGRADE_IGNORED][self._state]
        framing = head.framing
        field = b"content-length: %d" % framing.size if isinstance(framing, Length) else b"transfer-encoding: chunked"
        self._llhttp.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % field)

    def _fail(self, error: ProtocolError) -> None:
        self._state = TRANSITIONS[Transition.ERROR][self._state]
        self._events.append(error)


def _translate_error(error: httptools.HttpParserError) -> ProtocolError:
    """The exception that a callback raised, or llhttp's own as one of ours. A defect of a callback is raised."""
    reason, cause = str(error), error.__context__
    if isinstance(cause, ProtocolError):
        return cause
    if cause is not None:
        raise cause
    if reason == "Pause on PRI/Upgrade":
        return ProtocolError("HTTP/2 is not supported; use HTTP/1.1", 505)
    if reason == "Invalid HTTP version":
        return ProtocolError("this version of HTTP is not supported; use HTTP/1.1", 505)
    return ProtocolError(f"malformed request: {reason}")
