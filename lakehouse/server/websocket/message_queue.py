"""WebSocket messages on their way to the application."""

from __future__ import annotations

from collections import deque

import trio

from lakehouse.asgi.types import Message

MESSAGE_OVERHEAD = 256
"""Bytes that a message takes from the window beside its own: what Python needs to hold one, empty or not."""


class MessageQueue:
    """Messages that the application has not taken yet: about `window` bytes (of text: characters) at most.

    `disconnect` is the message that ends the queue, None before the WebSocket has closed.
    """

    def __init__(self, window: int) -> None:
        self.disconnect: Message | None = None
        self._window = window
        self._messages: deque[tuple[Message, int]] = deque()
        self._size = 0
        self._lost = False  # the client vanished without a close
        self._changed = trio.lowlevel.ParkingLot()  # where `get` and `wait_closed` wait
        self._room = trio.lowlevel.ParkingLot()  # where `wait_for_room` waits

    def put(self, content: str | bytes) -> None:
        """Append a message."""
        size = len(content) + MESSAGE_OVERHEAD
        self._messages.append(({"type": "websocket.receive", _key_of(content): content}, size))
        self._size += size
        self._changed.unpark_all()

    async def get(self) -> Message:
        """The next message; `disconnect` once the queue is empty and the WebSocket has closed."""
        while not self._messages:
            if self.disconnect is not None:
                return self.disconnect
            await self._changed.park()
        message, size = self._messages.popleft()
        self._size -= size
        self._room.unpark_all()
        return message

    async def wait_for_room(self) -> None:
        """Wait until the window has room, so that a slow application slows its client down."""
        while self._size >= self._window:
            await self._room.park()

    def close(self, code: int, reason: str | None) -> None:
        """End the queue, unless it has an end."""
        if self.disconnect is None:
            self.disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason or ""}
        self._changed.unpark_all()

    def lose(self) -> None:
        """The client has vanished: no close will come."""
        self._lost = True
        self._changed.unpark_all()

    async def wait_closed(self) -> None:
        """Wait for `close` or `lose`."""
        while self.disconnect is None and not self._lost:
            await self._changed.park()


def _key_of(content: str | bytes) -> str:
    return "text" if isinstance(content, str) else "bytes"
