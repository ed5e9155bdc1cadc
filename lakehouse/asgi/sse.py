"""Streams to a client: server-sent events, and the writer of a stream with its keep-alive comments.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from lakehouse.asgi.types import Send

TryWrite = Callable[[bytes], Awaitable[None] | None]
"""`HttpServerControl.try_write` of our own server."""

KEEP_ALIVE = 5.0
"""Seconds without an event after which a comment is sent. Proxies close a connection that is silent for 30 s or more,
some clients one that is silent for 10 s."""

COMMENT = b": keep-alive\n\n"


class StreamFraming(NamedTuple):
    """How a stream is framed: its content type, and what is sent while it is silent, empty for a framing without
    anything that clients ignore.

    `plain_failures` are the statuses with which a request for a stream may fail before the stream has begun; with any
    other one, a stream is sent that holds nothing but the failure. None: every failure has its status.
    """

    content_type: bytes
    keep_alive: bytes = b""
    plain_failures: frozenset[int] | None = None


SERVER_SENT_EVENTS = StreamFraming(b"text/event-stream; charset=utf-8", COMMENT)

_UNICODE_LINE_ENDS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def encode_event(document: bytes) -> bytes:
    """Encode a JSON document as one event."""
    return b"data: " + escape_line_ends(document) + b"\n\n"


def escape_line_ends(document: bytes) -> bytes:
    """Escape U+2028, U+2029 and U+0085 in a JSON document.

    They are legal in JSON and in events, but clients that split lines as `str.splitlines` does end a line at each of
    them (https://github.com/florimondmanca/httpx-sse/issues/34).
    """
    if not document.isascii():
        for newline, escaped in _UNICODE_LINE_ENDS:
            document = document.replace(newline, escaped)
    return document


class EventWriter:
    """Sends the events of one stream, and a comment when there has been none for a while. Made by `open_writer`.

    A write that is cancelled may leave half an event on the wire, so nothing may be written after it.
    """

    def __init__(self, send: Send, try_write: TryWrite | None, comment: bytes = COMMENT) -> None:
        self.started = False
        self._comment = comment
        self._send = send
        self._server_write = try_write
        self._fast_write: TryWrite | None = None  # `_server_write`, after the first event
        self._sending = False  # stays true when the write is cancelled
        self._comment_sent: trio.Event | None = None  # set when a comment that is being sent has been sent
        self._now = trio.lowlevel.current_clock().current_time
        self._last_sent = self._now()

    async def start(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the head of the response, with status 200."""
        self.started = self._sending = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._sending = False

    async def write(self, events: bytes, *, last: bool = False) -> None:
        """Send events in one message; returns when the server has taken them. `last` ends the response."""
        self._sending = True
        if self._comment_sent is not None:  # two messages must not be sent at once
            await self._comment_sent.wait()
        await self._send({"type": "http.response.body", "body": events, "more_body": not last})
        self._sending = False
        self._last_sent = self._now()
        self._fast_write = self._server_write

    def try_write(self, events: bytes) -> Awaitable[None] | None:
        """Send events that are not the last, without an ASGI message where our own server allows that.

        Returns None when they have been sent. Otherwise the result must be awaited at once.
        """
        if self._fast_write is None or self._comment_sent is not None:
            return self.write(events)
        rest = self._fast_write(events)
        if rest is not None:
            self._sending = True
            return self._finish_write(rest)
        self._last_sent = self._now()
        return None

    async def _finish_write(self, rest: Awaitable[None]) -> None:
        await rest
        self._sending = False
        self._last_sent = self._now()

    async def keep_alive(self, interval: float) -> None:
        """Send a comment whenever a stream that has begun sent nothing for `interval` seconds. Runs until cancelled."""
        while True:
            due = self._last_sent + interval
            if trio.current_time() < due:
                await trio.sleep_until(due)
            elif self.started and not self._sending:
                await self._send_comment()
            else:
                await trio.sleep(interval)  # the stream has not begun, or an event is being sent

    async def _send_comment(self) -> None:
        self._comment_sent = trio.Event()
        await self._send({"type": "http.response.body", "body": self._comment, "more_body": True})
        self._comment_sent.set()
        self._comment_sent = None
        self._last_sent = trio.current_time()


@asynccontextmanager
async def open_writer(
    send: Send, *, keep_alive: float, try_write: TryWrite | None = None, comment: bytes = COMMENT
) -> AsyncIterator[EventWriter]:
    """Open a writer, which sends comments until the end of the block, none if `comment` is empty.

    `try_write` is that of `HttpServerControl`.
    """
    async with trio.open_nursery() as nursery:
        writer = EventWriter(send, try_write, comment)
        if comment:
            nursery.start_soon(writer.keep_alive, keep_alive)
        yield writer
        nursery.cancel_scope.cancel()
