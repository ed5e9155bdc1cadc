"""One request and its response on a connection, as ASGI's `http` scope has them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any
from urllib.parse import unquote

import trio

from lakehouse.asgi.server_control import FULL_RESPONSE, SERVER_KEY
from lakehouse.asgi.types import Message, ResponseError, Scope
from lakehouse.core.errors import LakehouseError
from lakehouse.net.http1.framing import encode_chunk
from lakehouse.server.connection_io import ConnectionIO, ErrSlowBody
from lakehouse.server.request_control import RequestControl
from lakehouse.server.request_head import RequestHead, to_origin_form
from lakehouse.server.response_writer import CONTINUE, ResponseWriter, error_response_bytes
from lakehouse.server.server_state import ServerState
from lakehouse.server.transport import COALESCE_BELOW

logger = logging.getLogger("lakehouse.server")

_INTERNAL = LakehouseError("internal error")


class ScopeTemplate:
    """What a connection's scopes have in common, which is most of each."""

    def __init__(self, connection_io: ConnectionIO) -> None:
        client, server = connection_io.transport.addresses()
        self._secure = connection_io.transport.secure
        self._server = server
        self._common: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https" if self._secure else "http",
            "path": "",
            "raw_path": b"",
            "query_string": b"",
            "root_path": "",
            "headers": [],
            "client": client,
            "server": server,
            "extensions": {},
        }

    def localise(self, head: RequestHead) -> None:
        """Take a target that is a URL of this listener for its path."""
        to_origin_form(head, secure=self._secure, server=self._server)

    def scope(self, head: RequestHead) -> Scope:
        """An ASGI scope of type `http`.

        `raw_path` is as it was sent, so a foreign URL or an asterisk does not begin with a slash.
        """
        raw_path, _, query = head.target.partition(b"?")
        path = raw_path.decode("ascii")  # llhttp takes no other bytes in a target
        scope = self._common.copy()
        scope["http_version"] = head.version
        scope["method"] = head.method.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        scope["headers"] = head.headers
        return scope

    def websocket_scope(self, head: RequestHead, subprotocols: list[str]) -> Scope:
        """One of type `websocket`, in which ASGI has no method."""
        scope = self.scope(head)
        del scope["method"]
        scope["type"], scope["scheme"] = "websocket", "wss" if self._secure else "ws"
        scope["subprotocols"] = subprotocols
        return scope


class RequestCycle(RequestControl):
    """One request and its response; `receive` and `send` are what the application gets.

    The connection's next request begins when the application has returned, not when its response is complete.
    """

    __slots__ = (
        "_continued",
        "_over",
        "_received",
        "_scope_template",
        "_server_state",
        "read",
        "response",
    )

    def __init__(
        self, server_state: ServerState, connection_io: ConnectionIO, head: RequestHead, scope_template: ScopeTemplate
    ) -> None:
        super().__init__(connection_io, head)
        self._server_state = server_state
        self.response = ResponseWriter(head)
        self.read = False  # whether the application has had the whole body
        self._received = 0
        self._continued = not head.expects_continue
        self._over: trio.Event | None = None
        self._scope_template = scope_template

    async def run(self) -> None:
        """Have the application answer. What it raises becomes the answer, or a cut when the head is out.

        A `LakehouseError` speaks for itself, anything else is logged and a 500.
        """
        connection_io = self._connection_io
        connection_io.busy = True
        try:
            await self._server_state.app(self._scope(), self.receive, self.send)
            if not self.response.complete and not connection_io.disconnected:
                logger.error("the application left %s without a whole response", self._name())
                await self._fail()
        except LakehouseError as error:  # its own words, or a lifeline's that the answer must not look complete
            logger.debug("%s failed: %s", self._name(), error)
            await self._fail(error)
        except Exception:  # whatever it is, it ends this exchange only
            if connection_io.disconnected:
                logger.debug("the application failed behind a client that left %s", self._name(), exc_info=True)
            else:
                logger.exception("the application failed at %s", self._name())
                await self._fail()
        finally:
            self._end()

    async def send_final_response(self) -> None:
        """After an interruption: what there is to say instead of the response that is not whole."""
        last_words = self._connection_io.final_response
        if last_words is not None and not self.response.complete:
            try:
                await last_words()
            except LakehouseError as error:  # the head is out, and the response will be cut
                logger.debug("%s was interrupted: %s", self._name(), error)

    def _scope(self) -> Scope:
        scope = self._scope_template.scope(self.head)
        scope[SERVER_KEY] = self
        if self.head.te_trailers:
            scope["extensions"] = {"http.response.trailers": {}}
        return scope

    async def receive(self) -> Message:
        """The next piece of the body; after it, `http.disconnect` once the response is complete.

        A client that leaves is told by cancellation. Raises `ErrSlowBody` and `ProtocolError`.
        """
        if self.read or self.response.complete:
            await self._wait_until_over()
            return {"type": "http.disconnect"}
        if not self._continued:
            await self._send_100_continue()
        try:
            data, more = await self._connection_io.read_body()
        except ErrSlowBody:
            self.response.close = True  # the rest will hardly come, and the next request is behind it
            raise
        self._received += len(data)
        self.read = not more
        return {"type": "http.request", "body": data, "more_body": more}

    async def send(self, message: Message) -> None:
        """Take one message of the response; returns when the kernel has its bytes.

        Raises `ResponseError` for what cannot be sent. Cancelled half-way, or left incomplete, the response is cut.
        """
        kind = message["type"]
        response = self.response
        if kind == FULL_RESPONSE or kind == "http.response.start":
            if self._must_close():
                response.close = True
            trailers = message.get("trailers", False)
            response.start(message["status"], message.get("headers", ()), self._server_state.date(), trailers=trailers)
            if kind != FULL_RESPONSE:
                return
            pieces = response.body(message["body"], False)
            left = (
                self._connection_io.transport.try_send_fair(b"".join(pieces))
                if len(message["body"]) < COALESCE_BELOW
                else None
            )
            if left is None:
                await self._connection_io.write(pieces)
            elif left:
                await self._connection_io.write([left])
            self._end()
            return
        if kind == "http.response.body":
            pieces = response.body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.trailers":
            pieces = response.trailers(message.get("headers", ()), message.get("more_trailers", False))
        else:
            raise ResponseError(f"unknown message {kind!r}")
        if pieces:
            await self._connection_io.write(pieces)
        if response.complete:
            self._end()

    def try_write(self, data: bytes) -> Awaitable[None] | None:
        """Send a piece of a response body that has begun, see `HttpServerControl.try_write`."""
        response = self.response
        if not response.chunked or response.complete or not data:
            return self.send({"type": "http.response.body", "body": data, "more_body": True})
        connection_io = self._connection_io
        left = connection_io.transport.try_send(encode_chunk(data))
        return connection_io.write([left]) if left else None

    async def _send_100_continue(self) -> None:
        """Ask for the body that the client holds back until it is wanted."""
        self._continued = True
        if self._connection_io.parser.empty and not self.response.head_out:
            await self._connection_io.write([CONTINUE])

    def _must_close(self) -> bool:
        """Whether the connection cannot go on after this response: we leave, or too much unread body is in the way."""
        if self._server_state.draining:
            return True
        if self.read or self._connection_io.parser.request_complete:
            return False
        length = self.head.length
        return (
            not self._continued or length is None or length - self._received > self._server_state.limits.discard_bytes
        )

    async def _fail(self, error: LakehouseError = _INTERNAL) -> None:
        """An error when nothing of a response is out; otherwise the connection will be cut."""
        if self.response.head_out or self._connection_io.transport.broken:
            return
        self.response, pieces = error_response_bytes(error, self._server_state.date(), self.head)
        await self._connection_io.write(pieces)

    def _end(self) -> None:
        self._connection_io.busy = False
        if self._over is not None:
            self._over.set()

    async def _wait_until_over(self) -> None:
        if not self.response.complete:
            if self._over is None:
                self._over = trio.Event()
            await self._over.wait()

    def _name(self) -> str:
        """The request for a log line: without the query, which may hold what is nobody's business."""
        return f"{self.head.method.decode()} {self.head.target.partition(b'?')[0].decode()}"
