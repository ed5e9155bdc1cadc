"""Writing server-sent events: their framing, and the one writer of a client's stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import trio

from lakehouse.asgi.types import Send

TryWrite = Callable[[bytes], Awaitable[None] | None]
"""`HttpServerControl.try_write` of our own server."""

KEEP_ALIVE = 5.0
"""Seconds of silence after which a comment is sent. Proxies on the way give up on a silent peer after 30 s or more,
some clients after 10 s."""

COMMENT = b": keep-alive\n\n"

_NEWLINES_TO_SOME = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def event(document: bytes) -> bytes:
    """A JSON document as one event."""
    return b"data: " + escape(document) + b"\n\n"


def escape(document: bytes) -> bytes:
    """JSON without the characters that some take for the end of a line.

    U+2028, U+2029 and U+0085 are written as escapes. They are legal as they are, but clients that split lines as
    `str.splitlines` does end one at each of them (https://github.com/florimondmanca/httpx-sse/issues/34).
    """
    if not document.isascii():
        for newline, escaped in _NEWLINES_TO_SOME:
            document = document.replace(newline, escaped)
    return document


class EventWriter:
    """Sends a stream to one client, and comments while there is nothing to say. Made by `open_writer`.

    Cancelling a write may leave half an event on the wire, so nothing can be written after it.
    """

    def __init__(self, send: Send, try_write: TryWrite | None) -> None:
        self.started = False
        self._send = send
        self._shorter = try_write
        self._under_way: TryWrite | None = None  # the same, once it may be used
        self._sending = False  # stays true when that is cancelled
        self._commented: trio.Event | None = None  # set when the comment that is on its way has left
        self._now = trio.lowlevel.current_clock().current_time
        self._spoke = self._now()

    async def start(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the head, status 200."""
        self.started = self._sending = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._sending = False

    async def write(self, events: bytes, *, last: bool = False) -> None:
        """Send these events in one message; returns when the connection has taken them. None can follow the last."""
        self._sending = True
        if self._commented is not None:  # two messages must not be sent at once
            await self._commented.wait()
        await self._send({"type": "http.response.body", "body": events, "more_body": not last})
        self._sending = False
        self._spoke = self._now()
        self._under_way = self._shorter

    def try_write(self, events: bytes) -> Awaitable[None] | None:
        """`write` of events that are not the last, without a message where the server takes them so. None if there is
        nothing to wait for, else what to await at once."""
        if self._under_way is None or self._commented is not None:
            return self.write(events)
        rest = self._under_way(events)
        if rest is not None:
            self._sending = True
            return self._taken(rest)
        self._spoke = self._now()
        return None

    async def _taken(self, rest: Awaitable[None]) -> None:
        await rest
        self._sending = False
        self._spoke = self._now()

    async def keep_alive(self, interval: float) -> None:
        """Send a comment whenever the started stream has been silent for `interval` seconds; runs until cancelled."""
        while True:
            due = self._spoke + interval
            if trio.current_time() < due:
                await trio.sleep_until(due)
            elif self.started and not self._sending:
                await self._comment()
            else:
                await trio.sleep(interval)  # it has not begun, or an event is on its way

    async def _comment(self) -> None:
        self._commented = trio.Event()
        await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        self._commented.set()
        self._commented = None
        self._spoke = trio.current_time()


@asynccontextmanager
async def open_writer(
    send: Send, *, keep_alive: float, try_write: TryWrite | None = None
) -> AsyncIterator[EventWriter]:
    """A writer whose comments end with the block. `try_write` is the server's."""
    async with trio.open_nursery() as nursery:
        writer = EventWriter(send, try_write)
        nursery.start_soon(writer.keep_alive, keep_alive)
        yield writer
        nursery.cancel_scope.cancel()
