"""One request and its response on a connection, with `receive` and `send` of ASGI's `http` scope."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

import trio

from lakehouse.asgi.server_control import FULL_RESPONSE, SERVER_KEY, HttpServerControl
from lakehouse.asgi.types import Message, ResponseError, Scope
from lakehouse.core.errors import LakehouseError
from lakehouse.net.http1.framing import CHUNKED, Length, encode_chunk
from lakehouse.server.connection_io import BETWEEN_STEPS, BUSY, ConnectionIO, ErrSlowBody
from lakehouse.server.http1.request_head import RequestHead
from lakehouse.server.http1.response_writer import COMPLETE, CONTINUE, ResponseWriter, error_response_bytes
from lakehouse.server.request_control import RequestControl
from lakehouse.server.scope_template import ScopeTemplate
from lakehouse.server.server_state import ServerState
from lakehouse.server.transports.transport import COALESCE_BELOW

logger = logging.getLogger("lakehouse.server")

_INTERNAL_ERROR = LakehouseError("internal error")


class RequestCycle(RequestControl):
    """One request and its response; `receive` and `send` are the application's.

    The connection's next request begins when the application has returned, not when its response is complete.
    """

    __slots__ = (
        "_continued",
        "_end_waiter",
        "_ended",
        "_received",
        "_scope_template",
        "_server_state",
        "body_ended",
        "response",
    )

    def __init__(
        self, server_state: ServerState, connection_io: ConnectionIO, head: RequestHead, scope_template: ScopeTemplate
    ) -> None:
        super().__init__(connection_io, head)
        self._server_state = server_state
        self.response = ResponseWriter(head)
        self.body_ended = False
        """True once the application has received the end of the body."""
        self._received = 0  # bytes of the body
        self._continued = not head.expects_continue
        self._ended = False
        self._end_waiter: trio.Event | None = None  # made when `receive` waits for the end of the response
        self._scope_template = scope_template

    @property
    def bytes_received(self) -> int:
        """Bytes of the request body that the application has received."""
        return self._received

    @property
    def bytes_sent(self) -> int:
        """Bytes of the response body that were sent."""
        return self.response.body_size

    async def run(self) -> None:
        """Call the application. An exception of it becomes the response, or a cut if the head is out.

        A `LakehouseError` has a response of its own; any other exception is logged, and the response is a 500.
        """
        connection_io = self._connection_io
        connection_io.phase = BUSY
        try:
            await self._server_state.app(self._make_scope(), self.receive, self.send)
            if self.response.state is not COMPLETE and not connection_io.disconnected:
                logger.error("the application returned from %s without a complete response", self._describe())
                await self._fail()
        except LakehouseError as error:
            logger.debug("%s failed: %s", self._describe(), error)
            await self._fail(error)
        except Exception:
            if connection_io.disconnected:
                logger.debug("the application failed after its client had left %s", self._describe(), exc_info=True)
            else:
                logger.exception("the application failed at %s", self._describe())
                await self._fail()
        finally:
            self._end()

    async def send_final_response(self) -> None:
        """After an interruption: await the final response, unless the response is complete."""
        send = self._connection_io.final_response
        if send is not None and self.response.state is not COMPLETE:
            try:
                await send()
            except LakehouseError as error:  # the head is out, and the response will be cut
                logger.debug("%s was interrupted: %s", self._describe(), error)

    def _make_scope(self) -> Scope:
        scope = self._scope_template.make_scope(self.head)
        control: HttpServerControl = self  # checked by mypy: a scope takes anything
        scope[SERVER_KEY] = control
        if self.head.te_trailers:
            scope["extensions"] = {"http.response.trailers": {}}
        return scope

    async def receive(self) -> Message:
        """The next piece of the body; after it, `http.disconnect` once the kernel has the whole response.

        When the client leaves, the application is cancelled. Raises `ErrSlowBody` and `ProtocolError`.
        """
        if self.body_ended or self.response.state is COMPLETE:
            await self._wait_until_ended()
            return {"type": "http.disconnect"}
        if not self._continued:
            await self._send_100_continue()
        try:
            data, more = await self._connection_io.read_body()
        except ErrSlowBody:
            self.response.close = True  # the rest of the body, which may never come, is before the next request
            raise
        self._received += len(data)
        self.body_ended = not more
        return {"type": "http.request", "body": data, "more_body": more}

    def try_receive_body(self) -> bytes | None:
        """The rest of the body if all of it has arrived, see `HttpServerControl.try_receive_body`."""
        parser = self._connection_io.parser
        if self.body_ended:
            return b""
        if not parser.request_complete:
            return None
        data, self.body_ended = parser.take_body()
        self._received += len(data)
        return data

    async def send(self, message: Message) -> None:
        """Take one message of the response; returns when the kernel has its bytes.

        Raises `ResponseError` for a message that cannot be sent. Cancelled half-way, or left incomplete, the response
        is cut.
        """
        kind = message["type"]
        response = self.response
        if kind == FULL_RESPONSE:
            self._start(message)
            pieces = response.body(message["body"], False)
            if len(message["body"]) >= COALESCE_BELOW:
                await self._connection_io.write(pieces)
            elif left := self._connection_io.transport.try_write(b"".join(pieces), charged=True):
                await self._connection_io.write([left])
            self._end()
            return
        if kind == "http.response.start":
            self._start(message)
            return
        if kind == "http.response.body":
            pieces = response.body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.trailers":
            pieces = response.trailers(message.get("headers", ()), message.get("more_trailers", False))
        else:
            raise ResponseError(f"unknown message {kind!r}")
        if pieces:
            await self._connection_io.write(pieces)
        if response.state is COMPLETE:
            self._end()

    def _start(self, message: Message) -> None:
        if self._must_close():
            self.response.close = True
        trailers = message.get("trailers", False)
        self.response.start(message["status"], message.get("headers", ()), self._server_state.date(), trailers=trailers)

    def try_write(self, data: bytes) -> Awaitable[None] | None:
        """Send a piece of a response body that has begun, see `HttpServerControl.try_write`."""
        response = self.response
        if response.framing is not CHUNKED or response.state is COMPLETE or not data:
            return self.send({"type": "http.response.body", "body": data, "more_body": True})
        response.body_size += len(data)
        connection_io = self._connection_io
        left = connection_io.transport.try_write(encode_chunk(data), charged=False)
        return connection_io.write([left]) if left else None

    async def _send_100_continue(self) -> None:
        """Have the client send the body that it holds back."""
        self._continued = True
        if self._connection_io.parser.empty and not self.response.head_out:
            await self._connection_io.write([CONTINUE])

    def _must_close(self) -> bool:
        """True if the connection cannot go on after this response: it drains, or too much of the body is unread."""
        if self._server_state.draining:
            return True
        if self.body_ended or self._connection_io.parser.request_complete:
            return False
        framing = self.head.framing
        if not self._continued or framing is CHUNKED:
            return True
        left = (framing.size if isinstance(framing, Length) else 0) - self._received
        return left > self._server_state.limits.max_discarded_body

    async def _fail(self, error: LakehouseError = _INTERNAL_ERROR) -> None:
        """Respond with an error if nothing of a response is out; otherwise the connection will be cut."""
        if self.response.head_out or self._connection_io.transport.broken:
            return
        self.response, pieces = error_response_bytes(error, self._server_state.date(), self.head)
        await self._connection_io.write(pieces)

    def _end(self) -> None:
        self._connection_io.phase = BETWEEN_STEPS
        self._ended = True
        if self._end_waiter is not None:
            self._end_waiter.set()

    async def _wait_until_ended(self) -> None:
        if not self._ended:
            if self._end_waiter is None:
                self._end_waiter = trio.Event()
            await self._end_waiter.wait()

    def _describe(self) -> str:
        """The request for a log line, without the query, which may hold secrets."""
        return f"{self.head.method.decode()} {self.head.target.partition(b'?')[0].decode()}"
