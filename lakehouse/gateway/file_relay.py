"""Large files of the services process: it names the file, and the gateway sends the bytes; see `asgi.file_handover`."""

from __future__ import annotations

import os
from collections.abc import Awaitable

import trio

from lakehouse.asgi.conditional import Validators
from lakehouse.asgi.content import send_part
from lakehouse.asgi.file_content import FileContent, close_file
from lakehouse.asgi.file_handover import ACCEPT_FILE, FILE_PART, FilePart
from lakehouse.asgi.ranges import ByteRange
from lakehouse.asgi.server_control import FULL_RESPONSE
from lakehouse.asgi.types import App, Message, Receive, Scope, Send

PIECE = 256 * 1024
"""Bytes of a file that are read and sent at once."""

_OFFER = (ACCEPT_FILE, b"1")
_BODY_FIELDS = frozenset((b"content-length", b"transfer-encoding"))


class FileRelay:
    """Around the `ReverseProxy` of a service that sends files; it removes the offer of a client.

    With `offers` it makes its own: to the services process, which runs as the same user on this machine. Another
    service on a Unix socket would believe the offer of a client, and name a path of its machine in place of the bytes.
    """

    def __init__(self, proxy: App, *, offers: bool) -> None:
        self._proxy = proxy
        self._offers = offers

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the proxy's own awaitable where no file can be sent: a coroutine around it would run at each wait of
        the request."""
        names = [name for name, _ in scope["headers"]]
        if ACCEPT_FILE in names:
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != ACCEPT_FILE]}
        if self._offers and scope.get("method") == "GET" and _BODY_FIELDS.isdisjoint(names):
            return self._offer(scope, receive, send)
        return self._proxy(scope, receive, send)

    async def _offer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _Interceptor(send)
        await self._proxy({**scope, "headers": [*scope["headers"], _OFFER]}, receive, response.send)
        if response.file_part is not None:
            try:
                descriptor = await trio.to_thread.run_sync(os.open, response.file_part.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # the object was replaced or deleted meanwhile
                await self._proxy(scope, receive, send)
                return
            try:
                await _send_part(descriptor, response.file_part, response.head, send)
            finally:
                await close_file(descriptor)


class _Interceptor:
    """Passes messages of a response on, but for one that names a file, which is kept."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.file_part: FilePart | None = None
        self.head: Message = {}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in (FULL_RESPONSE, "http.response.start"):
            for name, value in message["headers"]:
                if name == FILE_PART:
                    self.file_part, self.head = FilePart.parse(value), message
        if self.file_part is None:
            await self._send(message)


async def _send_part(descriptor: int, part: FilePart, head: Message, send: Send) -> None:
    """Send the head with the length of the part, then its bytes. Raises ContentTruncated."""
    headers = [pair for pair in head["headers"] if pair[0] not in (FILE_PART, b"content-length")]
    headers.append((b"content-length", b"%d" % (part.stop - part.start)))
    await send({"type": "http.response.start", "status": head["status"], "headers": headers})
    content = FileContent(descriptor, part.stop, Validators())
    await send_part(send, content, ByteRange(part.start, part.stop), PIECE)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
