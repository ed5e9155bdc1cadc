"""How a lifeline holds on to a client under a server that does not cancel: by reading `receive` all the time.

Stock Hypercorn is such a server. It reports that a client has left as a message, but never tells it to an application
that is not reading, and it cannot finish a response whose request body nobody takes: its `send` of the last piece
waits for room in the queue that the body has filled.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from lakehouse.asgi.types import Message, Receive

ABNORMAL = 1006
"""The code of a WebSocket that ended without a close frame. One that was closed is the application's to read of."""


class ReceiveForwarder:
    """The only reader of a server's `receive`; the application reads from here.

    Between the two is room for one message: a request without a body never blocks the pump, while a body is taken from
    the server only as fast as the application reads, and is thrown away once `finish` says that nobody will.
    """

    def __init__(self, receive: Receive, gone: Callable[[], None]) -> None:
        self._receive = receive
        self._gone = gone
        self._into, self._out = trio.open_memory_channel[Message](1)
        self._forwarding = trio.CancelScope()
        self._finished = False

    def finish(self) -> None:
        """The last piece of the response is on its way: from now on a disconnect only says so."""
        self._finished = True
        self._forwarding.cancel()

    async def receive(self) -> Message:
        """The application's `receive`. A client that leaves arrives as cancellation, not as a message."""
        try:
            return await self._out.receive()
        except trio.EndOfChannel:
            return {"type": "http.disconnect"}

    async def run(self) -> None:
        """Pump until the server reports the disconnect; calls `gone` when that came before the end."""
        with self._into:
            message: Message = {"type": ""}
            with self._forwarding:
                while not self._is_end(message):
                    message = await self._receive()
                    if message["type"] != "http.disconnect":
                        await self._into.send(message)
            while not self._is_end(message):
                message = await self._receive()
            if not self._finished and message.get("code", ABNORMAL) == ABNORMAL:
                self._gone()  # before the application can read of it

    @staticmethod
    def _is_end(message: Message) -> bool:
        return message["type"] in ("http.disconnect", "websocket.disconnect")
