"""One WebSocket on a connection, as ASGI's `websocket` scope has it. wsproto does the framing, `Handshake` the rest.

Unlike a `RequestCycle` it has a reader task, because pings are to be answered while the application only sends.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from lakehouse.asgi.server_control import SERVER_KEY, ServerControl
from lakehouse.asgi.types import DENIAL, Message, ResponseError
from lakehouse.core.errors import ErrForbidden, LakehouseError
from lakehouse.net.websocket import FrameSender, MessageAssembler, MessageTooLarge, close_event
from lakehouse.server.connection_io import BETWEEN_STEPS, BUSY, ConnectionIO
from lakehouse.server.http1.request_head import ProtocolError, RequestHead
from lakehouse.server.http1.response_writer import COMPLETE, ResponseWriter, error_response_bytes
from lakehouse.server.request_control import RequestControl
from lakehouse.server.scope_template import ScopeTemplate
from lakehouse.server.server_state import ServerState
from lakehouse.server.websocket.handshake import Handshake
from lakehouse.server.websocket.message_queue import MessageQueue

logger = logging.getLogger("lakehouse.server")


class State(Enum):
    """What the application's next message can be about; the values complete "a message {...}"."""

    CONNECTING = "before the handshake was answered"
    OPEN = "on an open WebSocket"
    DENIED = "after the handshake was refused"


class WebSocket(RequestControl):
    """One WebSocket from its handshake to its close; `receive` and `send` are the application's.

    After the client's close the application gets `websocket.disconnect`, and has `websocket_close_timeout` seconds to
    return; a client that vanishes cancels it at once.
    """

    def __init__(
        self, server_state: ServerState, connection_io: ConnectionIO, head: RequestHead, scope_template: ScopeTemplate
    ) -> None:
        super().__init__(connection_io, head)
        self._server_state = server_state
        self._scope_template = scope_template
        self._state = State.CONNECTING
        self._handshake: Handshake | None = None
        self._denial: ResponseWriter | None = None
        self._connect_received = False
        self._protocol = Connection(ConnectionType.SERVER)
        self._sender = FrameSender(self._protocol, self._write)
        self._assembler = MessageAssembler(server_state.limits.max_websocket_message)
        self._queue = MessageQueue(server_state.limits.websocket_window)
        self._protocol_broken = False  # by the client, which may still be sending
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Shake hands, run the application, close. The connection ends afterwards."""
        connection_io = self._connection_io
        try:
            self._handshake = handshake = Handshake(self.head)
        except ProtocolError as error:
            await self._refuse(error)
            await connection_io.linger()
            return
        scope = self._scope_template.make_websocket_scope(self.head, handshake.subprotocols)
        scope["extensions"] = {DENIAL: {}}
        control: ServerControl = self  # checked by mypy: a scope takes anything
        scope[SERVER_KEY] = control
        connection_io.phase = BUSY
        try:
            async with trio.open_nursery() as self._nursery:
                code = CloseReason.NORMAL_CLOSURE
                try:
                    await self._server_state.app(scope, self.receive, self.send)
                except Exception:
                    logger.exception("the application failed in the WebSocket %s", scope["path"])
                    code = CloseReason.INTERNAL_ERROR
                connection_io.phase = BETWEEN_STEPS
                await self._finish(code)
                self._nursery.cancel_scope.cancel()
        except* trio.BrokenResourceError:
            pass  # the client left during the closing handshake

    async def receive(self) -> Message:
        """The next message, or `websocket.disconnect` once the client or the application has closed."""
        if not self._connect_received:
            self._connect_received = True
            return {"type": "websocket.connect"}
        return await self._queue.get()

    async def send(self, message: Message) -> None:
        """Take one message of the application; a message that crosses the client's close is dropped.

        Raises `ResponseError` for a message that cannot be sent in this state.
        """
        kind = message["type"]
        handler = _HANDLERS[self._state].get(kind)
        if handler is None:
            raise ResponseError(f"{kind!r} {self._state.value}")
        await handler(self, message)

    # The answer to the handshake.

    async def _accept(self, message: Message) -> None:
        if self._handshake is None or self._nursery is None:
            raise RuntimeError("WebSocket.run() is not running")
        headers, date = message.get("headers", ()), self._server_state.date()
        head = self._handshake.accept(message.get("subprotocol"), headers, date)
        self._state = State.OPEN
        await self._write(head)
        self._nursery.start_soon(self._read)

    async def _start_denial(self, message: Message) -> None:
        response = ResponseWriter(self.head)
        response.close = True
        response.start(message["status"], message.get("headers", ()), self._server_state.date())
        self._state, self._denial = State.DENIED, response

    async def _continue_denial(self, message: Message) -> None:
        if self._denial is not None:
            pieces = self._denial.body(message.get("body", b""), message.get("more_body", False))
            await self._connection_io.write(pieces)

    async def _deny(self, _: Message) -> None:
        await self._refuse(ErrForbidden("the WebSocket was refused"))

    async def _refuse(self, error: LakehouseError) -> None:
        self._state = State.DENIED
        self._denial, pieces = error_response_bytes(error, self._server_state.date(), self.head)
        await self._connection_io.write(pieces)

    # Frames to the client.

    async def _write(self, data: bytes) -> None:
        await self._connection_io.write([data])

    async def _send_message(self, message: Message) -> None:
        text = message.get("text")
        await self._sender.send(BytesMessage(data=message["bytes"]) if text is None else TextMessage(data=text))

    async def _send_close(self, message: Message) -> None:
        await self._close(message.get("code", CloseReason.NORMAL_CLOSURE), message.get("reason"))

    async def _close(self, code: int, reason: str | None) -> None:
        """Send a close frame; the client has `websocket_close_timeout` seconds to reply."""
        if not 1000 <= code <= 4999:
            raise ResponseError(f"{code} is no close code")
        if self._protocol.state is ConnectionState.OPEN and self._nursery is not None:
            self._nursery.start_soon(self._give_up_close)
        await self._sender.send(close_event(code, reason))

    async def _give_up_close(self) -> None:
        await trio.sleep(self._server_state.limits.websocket_close_timeout)
        self._queue.close(CloseReason.ABNORMAL_CLOSURE, None)

    async def _finish(self, code: int) -> None:
        """After the application: send what it left out, a response or a close, and wait for the client's close."""
        if self._state is State.CONNECTING:
            await self._refuse(LakehouseError("internal error"))
        if self._denial is not None:
            if self._denial.state is COMPLETE:
                await self._connection_io.linger()
            return
        await self._close(code, None)
        if not self._connection_io.disconnected:
            await self._queue.wait_closed()
        if self._protocol_broken:
            await self._connection_io.linger()

    # Frames from the client.

    async def _read(self) -> None:
        """Take frames until the close. With a full queue the bytes stay in the kernel's buffer."""
        data = self._connection_io.parser.trailing_data()
        while True:
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                if isinstance(event, CloseConnection):
                    await self._answer_close(event)
                    return
                if isinstance(event, Ping):
                    await self._sender.send(event.response())
                elif isinstance(event, TextMessage | BytesMessage) and not self._take(event):
                    await self._answer_close(
                        CloseConnection(code=CloseReason.MESSAGE_TOO_BIG, reason="message too big")
                    )
                    return
            await self._queue.wait_for_room()
            data = await self._connection_io.read_unparsed()
            if not data:
                self._connection_io.client_disconnected()
                self._queue.lose()
                return

    def _take(self, event: TextMessage | BytesMessage) -> bool:
        """Add a fragment to its message, and a whole message to the queue; false if the message is too large."""
        if self._protocol.state is not ConnectionState.OPEN:
            return True  # the application has closed, and reads no more
        try:
            content = self._assembler.feed(event)
        except MessageTooLarge:
            return False
        if content is not None:
            self._queue.put(content)
        return True

    async def _answer_close(self, event: CloseConnection) -> None:
        """Handle a close frame: the client's, its reply to the server's, or wsproto's after a protocol violation."""
        self._connection_io.phase = BETWEEN_STEPS  # the client may end the connection from now on
        self._queue.close(CloseReason.NO_STATUS_RCVD if event.code is None else int(event.code), event.reason)
        self._protocol_broken = self._protocol.state is ConnectionState.OPEN
        await self._sender.send(CloseConnection(code=event.code, reason=event.reason))
        await trio.sleep(self._server_state.limits.websocket_close_timeout)
        # The application has had its time to return.
        self._connection_io.disconnected = True
        self._connection_io.scope.cancel()


_Handler = Callable[[WebSocket, Message], Awaitable[None]]

_HANDLERS: Final[dict[State, dict[str, _Handler]]] = {
    State.CONNECTING: {
        "websocket.accept": WebSocket._accept,
        "websocket.close": WebSocket._deny,
        f"{DENIAL}.start": WebSocket._start_denial,
    },
    State.OPEN: {"websocket.send": WebSocket._send_message, "websocket.close": WebSocket._send_close},
    State.DENIED: {f"{DENIAL}.body": WebSocket._continue_denial},
}
"""The messages that each state takes. `_accept` leads to OPEN, `_deny` and `_start_denial` to DENIED."""
