"""One ASGI lifespan inside another."""

from __future__ import annotations

from collections.abc import Callable

from lakehouse.asgi.types import Message, Receive, Send


class ShutdownMessages:
    """The messages of an application inside another lifespan.

    `on_shutdown` is called when the shutdown begins. The application's final message is held until `send_last`.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._last: Message | None = None
        self.on_shutdown: Callable[[], None] = _do_nothing

    async def receive(self) -> Message:
        """The application's `receive`."""
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            self.on_shutdown()
        return message

    async def send(self, message: Message) -> None:
        """The application's `send`."""
        if message["type"].startswith("lifespan.shutdown."):
            self._last = message
        else:
            await self._send(message)

    async def send_last(self) -> None:
        """Send the final message, if there was one. A server may exit after it."""
        if self._last is not None:
            await self._send(self._last)


def _do_nothing() -> None:
    """Before the resources are open there is nothing to drain."""
