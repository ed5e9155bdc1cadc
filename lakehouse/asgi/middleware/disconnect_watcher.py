"""Detects a disconnected client under a server that does not cancel, by reading `receive` all the time.

Stock Hypercorn is such a server. It reports a disconnect as a message, which an application that is not reading never
gets, and it cannot finish a response whose request body is not read: its `send` of the last piece waits for room in
the queue that the body has filled.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from lakehouse.asgi.types import Message, Receive

ABNORMAL = 1006
"""The code of a WebSocket that ended without a close frame. The application reads about one that was closed."""


class DisconnectWatcher:
    """The only reader of a server's `receive`. The application reads from the watcher.

    One message is buffered between the two, so a request without a body never blocks the watcher, while a body is
    read from the server only as fast as the application reads it. After `finish` the rest of the body is discarded.
    """

    def __init__(self, receive: Receive, on_disconnect: Callable[[], None]) -> None:
        self._receive = receive
        self._on_disconnect = on_disconnect
        self._sender, self._receiver = trio.open_memory_channel[Message](1)
        self._forwarding = trio.CancelScope()
        self._finished = False

    def finish(self) -> None:
        """Stop forwarding: the last piece of the response is about to be sent. A disconnect is no longer reported."""
        self._finished = True
        self._forwarding.cancel()

    async def receive(self) -> Message:
        """The application's `receive`. A client that leaves arrives as a cancellation, not as a message."""
        try:
            return await self._receiver.receive()
        except trio.EndOfChannel:
            return {"type": "http.disconnect"}

    async def run(self) -> None:
        """Forward until the server reports the disconnect; calls `on_disconnect` if that came before `finish`."""
        with self._sender:
            message: Message = {"type": ""}
            with self._forwarding:
                while not self._is_end(message):
                    message = await self._receive()
                    if message["type"] != "http.disconnect":
                        await self._sender.send(message)
            while not self._is_end(message):
                message = await self._receive()
            if not self._finished and message.get("code", ABNORMAL) == ABNORMAL:
                self._on_disconnect()  # before the application can read the end of the channel

    @staticmethod
    def _is_end(message: Message) -> bool:
        return message["type"] in ("http.disconnect", "websocket.disconnect")
