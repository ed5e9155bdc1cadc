"""Calls of an ASGI application in the same process, without a server: the request as values, the response as a stream.

What the application raises comes out of the call as it is, so a caller of a library gets exceptions, and no documents
of errors. The call is cancelled with the caller's block.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import unquote

import trio

from lakehouse.asgi.request_scope import REQUEST_KEY, EncodeError, RenderError
from lakehouse.asgi.server_control import FULL_RESPONSE, HttpServerControl
from lakehouse.asgi.types import App, HeaderPairs, Message, Scope
from lakehouse.core.context import RequestContext
from lakehouse.process.tasks import open_background


class InProcessResponse:
    """A response that has begun. Iterating gives the pieces of its body; the application waits for the caller."""

    def __init__(self, status: int, headers: HeaderPairs, pieces: trio.MemoryReceiveChannel[bytes]) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([piece async for piece in self])


class InProcessRequest:
    """The `RequestScope` of a call without a server."""

    def __init__(self, context: RequestContext) -> None:
        self.context = context
        self.server: HttpServerControl | None = None

    def render_errors_with(self, _render_error: RenderError) -> None:
        """A failure before the response is raised, and needs no response."""

    def begin_stream(self, _encode_error: EncodeError) -> None:
        """A failure in the middle of the stream is raised, and needs no final piece."""


@asynccontextmanager
async def call_app(
    app: App,
    method: str,
    path: str,
    *,
    query: str = "",
    headers: Sequence[tuple[str, str]] = (),
    body: AsyncIterable[bytes] | bytes = b"",
) -> AsyncIterator[InProcessResponse]:
    """Call the application; the block begins with the head of its response, and its end cancels what is left.

    `path` is percent-encoded. Raises what the application raises, before the block or at its end.
    """
    call = _Call(body)
    scope = _make_scope(method, path, query, headers)
    async with open_background() as nursery:
        nursery.start_soon(call.run, app, scope)
        yield await call.wait_for_head()


def _make_scope(method: str, path: str, query: str, headers: Sequence[tuple[str, str]]) -> Scope:
    context = RequestContext(id=secrets.token_hex(8), method=method, path=path, started=trio.current_time())
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": None,
        "server": None,
        "extensions": {},
        REQUEST_KEY: InProcessRequest(context),
    }


class _Call:
    """One call: the messages between the application and its caller."""

    def __init__(self, body: AsyncIterable[bytes] | bytes) -> None:
        self._body = None if isinstance(body, bytes) else aiter(body)
        self._whole = body if isinstance(body, bytes) else b""
        self._sent = False
        self._begun = trio.Event()
        self._head: Message = {}
        self._send_channel, self._pieces = trio.open_memory_channel[bytes](0)

    async def run(self, app: App, scope: Scope) -> None:
        """Run the application to its end. Only a response that is complete ends the iteration over its body."""
        await app(scope, self._receive, self._send)
        if not self._begun.is_set():
            raise RuntimeError("the application returned without a response")
        self._send_channel.close()

    async def wait_for_head(self) -> InProcessResponse:
        """Wait until the response has begun."""
        await self._begun.wait()
        return InProcessResponse(self._head["status"], self._head["headers"], self._pieces)

    async def _receive(self) -> Message:
        if self._sent:
            await trio.sleep_forever()  # the caller leaves by cancelling
        piece = self._whole if self._body is None else await anext(self._body, None)
        self._sent = self._body is None or piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": not self._sent}

    async def _send(self, message: Message) -> None:
        if message["type"] in ("http.response.start", FULL_RESPONSE):
            self._head = message
            self._begun.set()
        if message.get("body"):
            await self._send_channel.send(bytes(message["body"]))  # a view is valid until the next piece is read
